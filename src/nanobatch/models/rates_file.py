"""Writes measured rates into a user's price sheet and leaves everything else in it as it is."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nanobatch.errors import RegistryError
from nanobatch.models.sheet import parse_sheet, read_text, sheet_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from tomlkit import TOMLDocument
    from tomlkit.items import InlineTable, Table

    from nanobatch.models.rates import MeasuredRates

__all__ = ["write_rates"]

SHOWN_DIGITS = 6
"""Significant digits of a rate in the file: 50 slots know two of them."""


def write_rates(file: Path, rates: Mapping[str, MeasuredRates]) -> None:
    """Set the `[rates]` tables of a file, which is created if it is missing.

    Comments, order and everything else stay. The file is replaced as a whole, so that whoever
    reads it meanwhile sees the old one or the new one.

    Raises:
        RegistryError: The file cannot be used as a price sheet, read or written.
    """
    import tomlkit  # noqa: PLC0415 - for writing only

    target = file.resolve()  # a link stays a link
    is_there = target.exists()
    text = read_text(file) if is_there else ""
    parse_sheet(text, file=file)  # what is refused when it is loaded is not written either
    document = tomlkit.parse(text)
    for name, measured in rates.items():
        _set(document, name, measured)
    changed = tomlkit.dumps(document)
    _check(changed, text, rates, file=file)
    try:
        _replace(target, changed, mode=stat.S_IMODE(target.stat().st_mode) if is_there else None)
    except OSError as error:
        raise sheet_error(
            file, "", f"cannot be written ({error.strerror}); choose a file you may write"
        ) from error


def _check(changed: str, before: str, rates: Mapping[str, MeasuredRates], *, file: Path) -> None:
    """Refuse a text that does not say what it said before, and the new rates.

    Raises:
        RegistryError: Tables in odd places have confused the writer.
    """
    old = parse_sheet(before, file=file)
    new = parse_sheet(_alone(rates), file=file)
    wanted = old.model_copy(update={"rates": {**old.rates, **new.rates}})
    with suppress(RegistryError):
        if parse_sheet(changed, file=file) == wanted:
            return
    raise sheet_error(
        file, "rates", "cannot be changed where it stands; write it as tables such as [rates.lite]"
    )


def _alone(rates: Mapping[str, MeasuredRates]) -> str:
    """Return a sheet that says nothing but these rates."""
    import tomlkit  # noqa: PLC0415 - loaded by now

    document = tomlkit.document()
    for name, measured in rates.items():
        _set(document, name, measured)
    return tomlkit.dumps(document)


def _set(document: TOMLDocument, name: str, measured: MeasuredRates) -> None:
    import tomlkit  # noqa: PLC0415 - loaded by now
    from tomlkit.items import InlineTable  # noqa: PLC0415 - as above

    if "rates" not in document:
        document["rates"] = tomlkit.table(is_super_table=True)
    tables = cast("Table | InlineTable", document["rates"])
    if name not in tables:
        is_inline = isinstance(tables, InlineTable)
        tables[name] = tomlkit.inline_table() if is_inline else tomlkit.table()
    table = cast("Table | InlineTable", tables[name])
    table["accept"] = tomlkit.value(_shown(measured.accept))
    table["regenerate"] = tomlkit.value(_shown(measured.regenerate))
    table["slots"] = measured.slots
    table["measured_on"] = measured.measured_on


def _shown(rate: Decimal) -> str:
    """Return a rate as TOML writes a number, without an exponent."""
    short = format(rate, f".{SHOWN_DIGITS}g")
    return format(type(rate)(short), "f")


def _replace(file: Path, text: str, *, mode: int | None) -> None:
    """Write a file beside the old one and put it in its place."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask if mode is None else mode)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
