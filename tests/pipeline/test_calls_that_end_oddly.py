"""Ended at an odd moment, a run sends nothing more, and what it has begun it carries through."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import threading
import time
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from PIL import Image

from nanobatch import (
    Budget,
    Checkpoint,
    Ended,
    ImageAccepted,
    Job,
    Reply,
    RunEnding,
    TokenUsage,
    TransientError,
    TwoTierPipeline,
    Verdict,
)
from tests.support import NO_WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nanobatch import AcceptedImage, Candidate, Event, ImageRequest

JOBS = [Job(id=f"j{n}", prompt=f"dune {n}") for n in range(200)]


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (30, 60, 90)).save(file, "PNG")
    return file.getvalue()


class Backend:
    """Answers after a moment that differs from call to call."""

    def __init__(self) -> None:
        self.begun = 0
        self.begun_when_it_ended: int | None = None

    async def generate(self, request: ImageRequest) -> Reply:
        self.begun += 1
        await anyio.sleep(0.002 * (self.begun % 7))
        usage = TokenUsage(prompt_tokens=0, image_tokens=1120, text_tokens=0)
        return Reply(images=(picture(),), usage=usage)

    async def aclose(self) -> None:
        pass


def pipeline(backend: Backend, folder: Path, **options: Any) -> TwoTierPipeline:
    return TwoTierPipeline(
        backend,
        checkpoint=folder,
        budget=Budget.unlimited(),
        **{"filters": [], "retry": NO_WAIT, **options},
    )


@pytest.mark.parametrize("images", [5, 20, 40])
async def test_once_a_run_ends_nothing_more_is_sent(tmp_path: Path, images: int) -> None:
    backend = Backend()
    accepted = 0

    def tell(event: Event) -> None:
        nonlocal accepted
        accepted += isinstance(event, ImageAccepted)
        if accepted == images:
            backend.begun_when_it_ended = backend.begun
            raise LookupError

    with pytest.raises(LookupError):
        await pipeline(backend, tmp_path, concurrency=16).run(JOBS, progress=tell)

    assert backend.begun == backend.begun_when_it_ended
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.spend.unknown_usd == 0
        assert checkpoint.cost_model().calls == backend.begun
        assert checkpoint.verify().is_clean


class Memory:
    """Remembers how often it was told of the images of each job."""

    name = "memory"

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()

    async def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict.accept()

    def seen(self, image: AcceptedImage, memo: bytes) -> None:
        self.told[image.job_id] += 1


def test_what_is_accepted_while_two_signals_come_is_told_to_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard_link, linked = os.link, count(1)
    is_ending = threading.Event()
    heard: list[str] = []

    def link(*names: Any, **options: Any) -> None:
        hard_link(*names, **options)
        if next(linked) == 5:
            os.kill(os.getpid(), signal.SIGINT)
            assert is_ending.wait(10)
            os.kill(os.getpid(), signal.SIGTERM)

    def tell(event: Event) -> None:
        if isinstance(event, RunEnding):
            is_ending.set()
        if isinstance(event, ImageAccepted):
            heard.append(event.image.job_id)

    memory = Memory()
    again = pipeline(Backend(), tmp_path, concurrency=4, filters=[memory])
    monkeypatch.setattr(os, "link", link)
    first = again.run_sync(JOBS[:20], progress=tell)
    told = set(memory.told)
    second = again.run_sync(JOBS[:20])

    assert first.ended is Ended.CANCELLED
    assert told == set(heard) == {image.job_id for image in first.images}
    assert second.delivered == 20
    assert memory.told == {job.id: 1 for job in JOBS[:20]}


async def test_a_call_the_backend_cancels_is_unknown_money_and_tried_again(tmp_path: Path) -> None:
    class Cancels(Backend):
        async def generate(self, request: ImageRequest) -> Reply:
            if self.begun == 4:
                self.begun += 1
                call = asyncio.ensure_future(anyio.sleep_forever())
                call.cancel()
                await call
            return await super().generate(request)

    backend = Cancels()

    result = await pipeline(backend, tmp_path, concurrency=2).run(JOBS[:20])

    assert result.ended is Ended.COMPLETE
    assert result.delivered == 20
    assert backend.begun == 21
    # Lite's own cap of 4,096 tokens at 30 USD and the prompt's 6 or 7 bytes at 0.25 USD a million.
    assert 0.12288 < result.spend.unknown_usd < 0.12289
    assert [failure.kind for failure in result.failures] == ["connection_lost"]


async def test_a_slow_input_does_not_let_answers_come_too_late(tmp_path: Path) -> None:
    class Hurried(Backend):
        async def generate(self, request: ImageRequest) -> Reply:
            try:
                with anyio.fail_after(0.6):
                    await anyio.sleep(0.1)
                    return await super().generate(request)
            except TimeoutError:
                raise TransientError("Late.", kind="timeout", is_unknown_money=True) from None

    def jobs() -> Iterator[Job]:
        for job in JOBS[:70]:
            time.sleep(0.03)  # thirty of them take longer than a call may
            yield job

    backend = Hurried()

    result = await pipeline(backend, tmp_path, concurrency=8).run(jobs())

    assert result.delivered == backend.begun == 70
    assert result.spend.unknown_usd == 0
