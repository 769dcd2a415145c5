"""Real money is spent only with a yes, and never mixed with a simulator's in one folder."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING

from nanobatch.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

__all__ = ["Painter", "check_painter", "find_key", "note_painter", "wants_to_spend"]

KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
NOTE = "drawn-by.txt"


class Painter(StrEnum):
    """Who draws the images of a folder."""

    GEMINI = "gemini"
    """The real API, for real money."""
    SIMULATOR = "simulator"
    """The simulated Gemini on this machine."""


def find_key() -> str | None:
    """Return the name of the environment variable that holds an API key."""
    return next((name for name in KEY_VARIABLES if os.environ.get(name, "").strip()), None)


def check_painter(out: Path, painter: Painter, *, is_new: bool) -> None:
    """Refuse a folder whose images somebody else drew: its ledger would add real and play money.

    Raises:
        ConfigError: It is such a folder; the message says what to do.
    """
    if is_new:
        return
    try:
        other = (out / NOTE).read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigError(
            f"{out} holds a checkpoint that this demo did not make: choose another folder, --out."
        ) from None
    if other != painter:
        key = "unset the API key" if other == Painter.SIMULATOR else "set the API key again"
        raise ConfigError(
            f"The images in {out} are the work of the {other}: choose another folder with --out, "
            f"or {key} to go on there."
        )


def note_painter(out: Path, painter: Painter) -> None:
    """Write down who draws the images of a folder, before there are any.

    Raises:
        CheckpointError: The folder cannot be made or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / NOTE).write_text(f"{painter}\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"{out} cannot be used as a folder for images: {error.strerror or error}.", path=out
        ) from error


def wants_to_spend(most_usd: Decimal, *, key: str, is_agreed: bool) -> bool:
    """Ask before anything is sent to Google.

    Args:
        most_usd: The most that this run may cost.
        key: Name of the variable that holds the key.
        is_agreed: Whether the command line said yes already.

    Raises:
        ConfigError: Nobody is there to be asked.
    """
    if is_agreed:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{key} is set, so this would spend real money, and nobody can be asked: add --yes to "
            f"spend up to USD {most_usd:.2f}, or unset {key} to use the simulator."
        )
    try:
        answer = input(f"Spend up to USD {most_usd:.2f}? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in {"y", "yes"}
