"""What is on the screen while a batch runs."""

from __future__ import annotations

import os
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch import AcceptedImage, CallSettled, ImageAccepted, Spend, Tier
from nanobatch.cost import Outcome
from nanobatch.demo.screen import Tally, watching
from tests.terminal import running, terminal

if TYPE_CHECKING:
    import pytest


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


def test_a_terminal_gets_the_live_block_and_then_the_bill(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("A calm lake\nA still pond\n", encoding="utf-8")
    command = [sys.executable, "-m", "nanobatch", "demo", "--quick"]
    command += ["--out", str(tmp_path / "out"), "--jobs", str(jobs)]

    with terminal(rows=60) as seen, running(command, seen) as process:
        os.close(seen.device)
        seen.read()
        code = process.wait()

    assert code == 0
    shown = "\n".join(seen.lines)
    assert len(re.findall("^2 of 2 images .* 100 %$", shown, re.MULTILINE)) == 1
    assert shown.index("ended: complete") < shown.index("Ended: complete.")
    assert "%  2 of 2 images, " not in shown  # the plain lines
