from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from nanobatch import Budget, ImageRequest, Job, Reply, Retry, TransientError, TwoTierPipeline
from nanobatch.filters import Decodes
from nanobatch.testing import ScriptedBackend, gallery
from tests.support import states

if TYPE_CHECKING:
    from pathlib import Path

GOOD = next(one.image_bytes for one in gallery() if one.kind == "good")


async def test_it_plays_its_script_and_then_draws_good_pictures(tmp_path: Path) -> None:
    backend = ScriptedBackend(
        b"no image at all",
        TransientError("busy", kind="overloaded"),
        lambda request: GOOD,
        Reply(finish_reason="NO_IMAGE"),
    )

    result = await TwoTierPipeline(
        backend,
        filters=[Decodes()],
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        concurrency=1,
        retry=Retry(first_wait_seconds=0.001, max_wait_seconds=0.001),
    ).run([Job(id="a", prompt="a fox", want=2)])

    assert result.delivered == 2
    assert len(backend.requests) == 5
    assert states(tmp_path) == {"broken": 1, "accepted": 2}


async def test_a_picture_is_billed_by_its_tokens() -> None:
    # 1,120 image tokens at 30 USD a million, two input tokens at 0.25.
    reply = await ScriptedBackend().generate(ImageRequest(model="m", prompt="a fox"))

    assert reply.usage is not None
    assert (reply.usage.image_tokens, reply.usage.prompt_tokens) == (1120, 2)
    assert Decimal(reply.usage.image_tokens) * 30 / 10**6 == Decimal("0.0336")
