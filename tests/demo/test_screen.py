"""What is on the screen while a batch runs."""

from __future__ import annotations

import io
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from nanobatch import AcceptedImage, CallSettled, ImageAccepted, Spend, Tier
from nanobatch.cost import Outcome
from nanobatch.demo.screen import Tally, watching


def settled(outcome: Outcome, *, usd: str = "0", unknown: str = "0") -> CallSettled:
    return CallSettled(
        job_id="a",
        slot=1,
        tier=Tier.LITE,
        model_id="m",
        outcome=outcome,
        spend=Spend(confirmed_usd=Decimal(usd), unknown_usd=Decimal(unknown)),
    )


def accepted() -> ImageAccepted:
    image = AcceptedImage(
        job_id="a",
        number=1,
        path=Path("a-1.png"),
        sha256="",
        mime_type="image/png",
        width_px=1,
        height_px=1,
        model_id="m",
        tier=Tier.LITE,
        usd=Decimal("0.03"),
        score=None,
        prompt="x",
        slot=1,
    )
    return ImageAccepted(image=image)


def tally(**figures: int) -> Tally:
    start: dict[str, int] = {"wanted": 4, "accepted": 0, "calls": 0, **figures}
    return Tally(**start, usd=Decimal(0), unknown_usd=Decimal(0))


def test_only_billed_calls_are_calls_and_unknown_money_stands_apart() -> None:
    shown = tally()

    for event in (
        settled(Outcome.BILLED, usd="0.03"),
        settled(Outcome.UNBILLED),
        settled(Outcome.UNKNOWN, unknown="0.12"),
        settled(Outcome.BILLED, usd="0.05"),
        accepted(),
        accepted(),
    ):
        shown.count(event)

    assert str(shown) == "2 calls, USD 0.0800 (+ 0.1200 unknown), 0.0400 each"
    assert shown.requests == 4


def test_without_a_terminal_there_is_a_line_for_every_tenth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with watching(tally(accepted=1, wanted=4)) as progress:
        progress(settled(Outcome.BILLED, usd="0.03"))
        progress(accepted())
        progress(accepted())

    assert capsys.readouterr().out.splitlines() == [
        "  50 %  2 of 4 images, 1 call, USD 0.0300, 0.0150 each",
        "  70 %  3 of 4 images, 1 call, USD 0.0300, 0.0100 each",
    ]


def test_a_terminal_gets_a_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")

    with watching(tally()) as progress:
        progress(settled(Outcome.BILLED, usd="0.03"))
        progress(accepted())

    assert "1/4" in terminal.getvalue()
    assert "1 call, USD 0.0300, 0.0300 each" in terminal.getvalue()
