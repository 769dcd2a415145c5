"""Backends and filters of other people: what they hand over is believed as far as it can be."""

from __future__ import annotations

import json
import struct
import zlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import (
    BadRequestError,
    Budget,
    Candidate,
    Checkpoint,
    Ended,
    Job,
    JobStatus,
    Reply,
    TokenUsage,
    TwoTierPipeline,
    Verdict,
)
from nanobatch.errors import BrokenImageError
from nanobatch.testing import ScriptedBackend
from nanobatch.testing.gallery import gallery

if TYPE_CHECKING:
    from pathlib import Path

GOOD = gallery()[0].image_bytes
HALF = json.loads(r'"half \ud83d"')
"""Half an emoji, as a model's JSON may hold it."""


def undecodable() -> bytes:
    """Return a PNG whose chunks and checksums are right, and whose pixels are no zlib stream."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", 512, 512, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", b"no pixels " * 3000), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def pipeline(backend: Any, folder: Path, **options: Any) -> TwoTierPipeline:
    defaults: dict[str, Any] = {"filters": [], "budget": Budget(usd="5"), "concurrency": 1}
    return TwoTierPipeline(backend, checkpoint=folder, **{**defaults, **options})


def used(**counts: Any) -> Reply:
    """Return a reply whose usage is what somebody's backend made of it."""
    usage = TokenUsage(**{"prompt_tokens": 1, "image_tokens": 1120, "text_tokens": 0, **counts})
    return Reply(images=(GOOD,), usage=usage)


async def test_a_backend_that_returns_nothing_is_named_and_what_it_drew_before_is_saved(
    tmp_path: Path,
) -> None:
    class Forgetful(ScriptedBackend):
        async def generate(self, request: Any) -> Any:
            reply = await super().generate(request)
            return None if len(self.requests) == 3 else reply

    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(5)]
    with anyio.fail_after(60), pytest.raises(TypeError, match="NoneType, not a nanobatch Reply"):
        await pipeline(Forgetful(), tmp_path).run(jobs)

    with Checkpoint.read(tmp_path) as checkpoint:
        assert len(list(checkpoint.images())) == 2
        calls = [line.outcome for line in checkpoint.ledger() if line.kind == "call"]
    assert calls == ["billed", "billed", "unknown"]


@pytest.mark.parametrize(
    "counts",
    [
        {"image_tokens": -112_000},
        {"prompt_tokens": 2.5},
        {"prompt_tokens": None},
        {"text_tokens": 10**18},
        {"image_tokens": True},
        {"thought_tokens": -1},
    ],
)
async def test_usage_that_is_no_count_is_unknown_money_and_the_image_is_kept(
    tmp_path: Path, counts: dict[str, Any]
) -> None:
    backend = ScriptedBackend(used(**counts))

    result = await pipeline(backend, tmp_path).run([Job(id="a", prompt="a fox")])

    worst = Decimal("0.123") + Decimal("0.25") * 5 / 10**6  # 4,096 tokens, and five bytes
    assert (result.ended, result.delivered) == (Ended.COMPLETE, 1)
    assert result.spend.confirmed_usd == 0
    assert Decimal("0.12") < result.spend.unknown_usd <= worst


async def test_negative_usage_makes_no_room_in_a_budget(tmp_path: Path) -> None:
    backend = ScriptedBackend(*[used(image_tokens=-112_000)] * 10)
    job = Job(id="a", prompt="a fox", want=10)

    result = await pipeline(backend, tmp_path, budget=Budget(usd="0.3")).run([job])

    assert result.ended is Ended.BUDGET
    assert len(backend.requests) == 2
    assert result.spend.worst_case_usd <= Decimal("0.3")


async def test_half_characters_of_a_judging_model_do_no_harm(tmp_path: Path) -> None:
    class Judge:
        name = "judge"
        worst_case_usd = "0.01"

        def __call__(self, candidate: Candidate) -> Verdict:
            return Verdict(accepted=False, reason=f"{HALF}!", usd=Decimal("0.004"))

    jobs = [Job(id="a", prompt="a fox")]
    result = await pipeline(ScriptedBackend(), tmp_path, filters=[Judge()]).run(jobs)

    with Checkpoint.read(tmp_path) as checkpoint:
        reasons = {one.reason for one in checkpoint.candidates()}
        [figures] = checkpoint.filters()
    assert result.jobs["a"].status is JobStatus.STOPPED
    assert reasons == {"half \\ud83d!"}
    assert figures.usd == figures.asked * Decimal("0.004")


async def test_half_characters_of_a_fault_do_no_harm(tmp_path: Path) -> None:
    backend = ScriptedBackend(BadRequestError(f"{HALF}\x1b[31m", kind="bad_request"))

    result = await pipeline(backend, tmp_path).run([Job(id="a", prompt="a fox")])

    assert result.jobs["a"].status is JobStatus.FAILED
    assert [one.message for one in result.failures] == ["half \\ud83d\\x1b[31m"]


@pytest.mark.parametrize("verdict", [True, False])
async def test_an_image_that_does_not_decode_is_broken_whatever_the_filter_made_of_it(
    tmp_path: Path, verdict: bool
) -> None:
    def tolerant(candidate: Candidate) -> bool:
        try:
            candidate.image.load()
        except BrokenImageError:
            return verdict
        return True

    backend = ScriptedBackend(undecodable())
    jobs = [Job(id="a", prompt="a fox")]
    result = await pipeline(backend, tmp_path, filters=[tolerant]).run(jobs)

    assert result.delivered == 1
    assert (result.cost.slots, result.cost.calls) == (1, 2)  # drawn again in the same slot
    assert [one.kind for one in result.failures] == ["broken"]
    with Checkpoint.read(tmp_path) as checkpoint:
        assert [one.state for one in checkpoint.candidates()] == ["broken", "accepted"]
