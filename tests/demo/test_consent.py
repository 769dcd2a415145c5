"""Nothing is spent without a yes."""

from __future__ import annotations

import io
import sys
from decimal import Decimal

import pytest

from nanobatch import ConfigError
from nanobatch.demo.consent import find_key, wants_to_spend


class Terminal(io.StringIO):
    """A person at a keyboard."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("sure\n", False), ("", False)],
)
def test_only_a_yes_is_a_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, *, wanted: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))

    answer = wants_to_spend(Decimal("12.5"), key="GEMINI_API_KEY", is_agreed=False)

    assert answer is wanted
    assert "Spend up to USD 12.50? [y/N]" in capsys.readouterr().out


def test_nobody_at_the_keyboard_is_no_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))

    with pytest.raises(ConfigError, match="add --yes"):
        wants_to_spend(Decimal(1), key="GEMINI_API_KEY", is_agreed=False)


def test_a_blank_key_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", " ")

    assert find_key() is None


def test_the_key_that_the_backend_would_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "a")
    monkeypatch.setenv("GOOGLE_API_KEY", "b")

    assert find_key() == "GOOGLE_API_KEY"
