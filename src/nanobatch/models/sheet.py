"""The TOML a price sheet is written in, checked at the edge and explained to whoever wrote it."""

import re
import reprlib
import tomllib
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from nanobatch.errors import RegistryError, one_line
from nanobatch.models.price import check_batch_factor, check_rate
from nanobatch.models.shape import edge_px, width_per_height

__all__ = [
    "ModelSection",
    "PriceSection",
    "RatesSection",
    "Sheet",
    "did_you_mean",
    "parse_sheet",
    "read_sheet",
    "read_text",
    "sheet_error",
    "toml_key",
]


MAX_TOKENS = 10_000_000
"""Most tokens taken for the count of one call: with more a reserve would not fit the database."""


def _decimal(value: object) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")  # so are `true`, a date and a list
    if not number.is_finite():
        raise ValueError(f'must be a number such as "0.25", not {reprlib.repr(value)}')
    return number


def _day(value: object) -> date:
    day = value
    if isinstance(value, str):
        try:
            day = date.fromisoformat(value)
        except ValueError:
            day = None
    if not isinstance(day, date) or isinstance(day, datetime):
        raise ValueError(f"must be a day such as 2027-06-30, not {value}")  # noqa: TRY004 - pydantic reads it
    return day


def _day_or_none(value: object) -> date | None:
    return None if value == "" else _day(value)


def _accept_rate(rate: Decimal) -> Decimal:
    if not 0 < rate <= 1:
        raise ValueError(f"must be above 0 and at most 1, not {rate}")
    return rate


def _regeneration_rate(rate: Decimal) -> Decimal:
    if rate < 0:
        raise ValueError(f"must be 0 or more, not {rate}")
    return rate


def _size(size: str) -> str:
    edge_px(size)
    return size


def _aspect_ratio(aspect_ratio: str) -> str:
    width_per_height(aspect_ratio)
    return aspect_ratio


def _name(name: str) -> str:
    if not name or name != name.strip():
        raise ValueError(f"must be a name without space around it, not {name!r}")
    return name


_Number = Annotated[Decimal, BeforeValidator(_decimal)]
_Rate = Annotated[_Number, AfterValidator(check_rate)]
_BatchFactor = Annotated[_Number, AfterValidator(check_batch_factor)]
_Day = Annotated[date, BeforeValidator(_day)]
_DayOrNone = Annotated[date | None, BeforeValidator(_day_or_none)]
_Name = Annotated[str, AfterValidator(_name)]
_Size = Annotated[str, AfterValidator(_size)]
_AspectRatio = Annotated[str, AfterValidator(_aspect_ratio)]
_Count = Annotated[int, Field(strict=True, ge=1)]
_Tokens = Annotated[_Count, Field(le=MAX_TOKENS)]
_Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    # Built when a sheet is first read: it takes as long as a tenth of all that is imported.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class PriceSection(_Section):
    """One `[[models."id".prices]]` row, USD per million tokens."""

    effective_from: _Day
    input: _Rate
    text_output: _Rate
    image_output: _Rate
    batch_factor: _BatchFactor = Decimal("0.5")


class ModelSection(_Section):
    """One `[models."id"]` table; only the fields that are written change the model."""

    name: str = ""
    aliases: tuple[_Name, ...] = ()
    sizes: tuple[_Size, ...] = ()
    aspect_ratios: tuple[_AspectRatio, ...] = ()
    image_tokens: dict[_Size, _Tokens] = {}
    released: _DayOrNone = None
    retires: _DayOrNone = None
    replacement: str = ""
    timeout_seconds: _Seconds = 300.0
    max_reserved_output_tokens: _Tokens | None = None
    thinking_levels: tuple[_Name, ...] = ()
    default_thinking_level: str = ""
    prices: tuple[PriceSection, ...] = ()


class RatesSection(_Section):
    """One `[rates.role]` table."""

    accept: Annotated[_Number, AfterValidator(_accept_rate)]
    regenerate: Annotated[_Number, AfterValidator(_regeneration_rate)]
    slots: _Count
    measured_on: _Day


class Sheet(_Section):
    """A whole price sheet, the built-in one or a user's."""

    roles: dict[_Name, _Name] = {}
    models: dict[_Name, ModelSection] = {}
    rates: dict[_Name, RatesSection] = {}


def read_sheet(file: Path) -> Sheet:
    """Read and check a user's price sheet.

    Raises:
        RegistryError: It cannot be read or used; the message names file, key and remedy.
    """
    return parse_sheet(read_text(file), file=file)


def read_text(file: Path) -> str:
    """Read the text of a user's price sheet, with its line ends as they are.

    Raises:
        RegistryError: It cannot be read, or is not UTF-8.
    """
    try:
        encoded = file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise sheet_error(
            file, "", f"cannot be read ({reason}); give the path of a readable TOML file"
        ) from None
    try:
        return encoded.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = encoded.count(b"\n", 0, error.start) + 1
        raise sheet_error(
            file, "", f"is not UTF-8 (line {line}); save it as UTF-8 and load it again"
        ) from None


def parse_sheet(text: str, *, file: Path | None) -> Sheet:
    """Check the text of a price sheet; `file` is only named in errors (`None`: the built-in one).

    Raises:
        RegistryError: It is no TOML or does not follow the schema.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise sheet_error(
            file, "", f"is not valid TOML: {error}; correct that line and load it again"
        ) from None
    except RecursionError:
        raise sheet_error(file, "", "is nested too deeply; write plain tables") from None
    try:
        return Sheet.model_validate(tables)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = tuple(part for part in first["loc"] if part != "[key]")
        raise sheet_error(file, toml_key(*location), _complaint(first, location)) from None


def sheet_error(file: Path | None, key: str, complaint: str) -> RegistryError:
    """Return the error to raise: one sentence with file, dotted key and complaint."""
    where = "The built-in price sheet" if file is None else str(file)
    end = "" if complaint.endswith("?") else "."
    complaint = one_line(complaint)
    message = f"{where}: {one_line(key)} {complaint}{end}" if key else f"{where} {complaint}{end}"
    return RegistryError(message, file=file, key=key)


def toml_key(*parts: str | int) -> str:
    """Return a dotted key as TOML writes it: `models."gemini-x.1".prices[0].input`."""
    key = ""
    for part in parts:
        if isinstance(part, int):
            key += f"[{part}]"
            continue
        is_bare = re.fullmatch(r"[A-Za-z0-9_-]+", part) is not None
        key += f".{part}" if is_bare else f'."{part}"'
    return key.removeprefix(".")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "lite"?`, or nothing if no known name is near."""
    matches = get_close_matches(name, list(known), n=1)
    return f'; did you mean "{matches[0]}"?' if matches else ""


_TYPE_COMPLAINTS = {
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be a list in square brackets",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "missing": "is missing; add it",
}


def _complaint(error: ErrorDetails, location: tuple[str | int, ...]) -> str:
    """Say what is wrong with a key in words that follow the key's name."""
    match error["type"]:
        case "extra_forbidden":
            known = _section_at(location).model_fields
            hint = did_you_mean(str(location[-1]), known)
            return f"is an unknown key{hint or '.'} The keys here are {', '.join(known)}"
        case "value_error":
            sentence = error["msg"].removeprefix("Value error, ").removesuffix(".")
            return sentence if sentence.startswith("must ") else f"is wrong: {sentence}"
        case kind if kind in _TYPE_COMPLAINTS:
            return _TYPE_COMPLAINTS[kind]
        case _:
            sentence = error["msg"].replace("Input should", "should")
            return f"{sentence}, not {reprlib.repr(error['input'])}"


def _section_at(location: tuple[str | int, ...]) -> type[_Section]:
    match location:
        case ("models", _, "prices", *_):
            return PriceSection
        case ("models", _, _):
            return ModelSection
        case ("rates", _, _):
            return RatesSection
        case _:
            return Sheet
