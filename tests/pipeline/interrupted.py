"""A process that interrupts itself at a chosen moment of its run, and says what it heard."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from nanobatch import (
    BatchJobChanged,
    BatchOptions,
    Budget,
    FailureRecorded,
    Gemini,
    ImageAccepted,
    Job,
    RunEnding,
    TwoTierPipeline,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanobatch import AcceptedImage, Candidate, Event
    from nanobatch.backend import ImageRequest, Reply

MOMENT, SIGNAL, BASE_URL, FOLDER = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
JOBS = 40
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
CONCURRENCY = 4
TIMEOUT_SECONDS = 1 if MOMENT == "stalled" else 5


def interrupt() -> None:
    say("interrupting")
    os.kill(os.getpid(), SIGNAL)


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 - read by the test


class Backend(Gemini):
    """Interrupts while it is opened, or when so many calls are on their way."""

    begun = 0

    async def __aenter__(self) -> Self:
        if MOMENT == "starting":
            interrupt()
        return await super().__aenter__()

    async def generate(self, request: ImageRequest) -> Reply:
        self.begun += 1
        if self.begun == {"budget": 2, "stalled": 4, "stalled, twice": 4}.get(MOMENT):
            asyncio.get_running_loop().call_later(0.2, interrupt)  # when the others wait
        return await super().generate(request)


def judge(candidate: Candidate) -> bool:
    if candidate.job.id == "j5" and MOMENT == "judging":
        interrupt()
        threading.Event().wait(0.5)
    if candidate.job.id == "j5" and MOMENT == "hanging filter":
        interrupt()
        threading.Event().wait()
    return True


class Memory:
    """Never comes back from being told of an image."""

    name = "memory"

    def __call__(self, candidate: Candidate) -> bool:
        return True

    def seen(self, image: AcceptedImage, memo: bytes) -> None:
        if image.job_id == "j5":
            interrupt()
            threading.Event().wait()


def jobs() -> Iterator[Job]:
    for n in range(JOBS):
        if n == 35 and MOMENT == "reading":
            interrupt()
        yield Job(id=f"j{n}", prompt=f"dune {n}")


def tell(event: Event) -> None:
    if isinstance(event, ImageAccepted):
        say("accepted", event.image.path)
        if MOMENT == "asyncio.run" and event.image.job_id == "j9":
            interrupt()
    if isinstance(event, FailureRecorded) and MOMENT == "pause" and event.job_id == "j0":
        interrupt()
    if isinstance(event, BatchJobChanged) and event.state == "running":
        interrupt()
    if isinstance(event, RunEnding) and MOMENT == "ending, twice":
        interrupt()
        asyncio.get_running_loop().call_later(0.2, interrupt)
    if isinstance(event, RunEnding) and MOMENT == "hanging memory":
        for seconds in (0.2, 0.6):
            asyncio.get_running_loop().call_later(seconds, interrupt)
    if isinstance(event, RunEnding) and MOMENT in ("stalled, twice", "hanging filter"):
        interrupt()


def main() -> None:
    options: dict[str, Any] = {"budget": Budget.unlimited()}
    if MOMENT == "budget":
        options = {"budget": Budget(usd="0.26")}  # a call is at most 0.1229 USD: two fit
    if MOMENT == "batch":
        options["batch"] = BatchOptions(poll_seconds=0.05)
    pipeline = TwoTierPipeline(
        Backend(api_key="k", base_url=BASE_URL, timeout_seconds=TIMEOUT_SECONDS),
        checkpoint=FOLDER,
        filters=[Memory() if MOMENT == "hanging memory" else judge],
        concurrency=CONCURRENCY,
        **options,
    )
    if MOMENT == "asyncio.run":
        asyncio.run(pipeline.run(jobs(), progress=tell))
    result = pipeline.run_sync(jobs(), progress=tell)
    say("ended", result.ended, result.spend.unknown_usd)


if __name__ == "__main__":
    main()
