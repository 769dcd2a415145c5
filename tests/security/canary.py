"""The watched process: whole runs and every error, with everybody logging all they can.

Its key is in the environment; the text never names it, so that no frame of its own holds it.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import traceback
import warnings
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import anyio

import nanobatch
from nanobatch import Budget, Checkpoint, Gemini, ImageAccepted, Job, TwoTierPipeline, filters
from nanobatch.backend import ImageRequest, Reply
from tests.load.mix import CONCURRENCY
from tests.security.echo import ECHOES
from tests.support import LITE, NO_WAIT, PRO

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanobatch import Candidate

BASE_URL, FOLDER = sys.argv[1:3]
KINDS = int(sys.argv[3])


def show(what: object) -> None:
    """Print all that can be printed of an object, and how it pickles if it does."""
    print(repr(what), str(what))  # noqa: T201 - this is what is searched
    if isinstance(what, Reply):
        return  # it is the images: whoever pickles it wants them
    try:
        print(repr(pickle.dumps(what)))  # noqa: T201
    except Exception as error:  # noqa: BLE001 - not everything pickles
        print(f"no pickle: {error!r}")  # noqa: T201


def show_error(error: BaseException) -> None:
    """Print an error as a careless program does: with the locals of every frame."""
    show(error)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for name, value in frame.f_locals.items():
            print(name, repr(value))  # noqa: T201
    with suppress(AttributeError):  # not every object of others can be shown half made
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        print("".join(trace.format()))  # noqa: T201
    logging.getLogger("app").error("it failed", exc_info=error)


async def must_fail(work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        show_error(error)
        print(f"SHOWN {type(error).__name__}")  # noqa: T201
    else:
        print("DID NOT FAIL")  # noqa: T201


def pipeline(folder: str, **options: Any) -> TwoTierPipeline:
    settings: dict[str, Any] = {
        "quality": PRO,
        "route": "lite",
        "filters": [filters.MinBytes(200), filters.Decodes()],
        "checkpoint": f"{FOLDER}/{folder}",
        "budget": Budget.unlimited(),
        "concurrency": CONCURRENCY,
        "retry": NO_WAIT,
        "keep_rejected": "all",
    }
    return TwoTierPipeline(Gemini(base_url=BASE_URL, timeout_seconds=1), **(settings | options))


def raises(candidate: Candidate) -> bool:
    image_bytes = candidate.image_bytes
    raise RuntimeError(f"cannot judge {candidate!r} of {len(image_bytes)} bytes")


def refuses_to_hear(event: object) -> None:
    what = f"nobody wants to hear {event!r}"
    if isinstance(event, ImageAccepted):
        raise LookupError(what)  # noqa: TRY004 - no wrong type: it only will not hear of this one


async def whole_run() -> None:
    """All echoes and all faults, to the end; everything public is shown."""
    recipe = pipeline("whole")
    jobs = [Job(id=f"job {n}", prompt=f"a fox #{n}") for n in range(KINDS)]
    result = await recipe.run(jobs, progress=show)
    everything: list[object] = [recipe, result, result.cost, result.spend, dict(result.jobs)]
    everything += [list(result.images), list(result.failures)]
    with Checkpoint.read(f"{FOLDER}/whole") as checkpoint:
        everything += [checkpoint, list(checkpoint.ledger()), list(checkpoint.candidates())]
        everything += [list(checkpoint.jobs()), checkpoint.verify()]
        checkpoint.export(f"{FOLDER}/whole.csv")
        checkpoint.export(f"{FOLDER}/whole.jsonl")
        for one in everything:
            show(one)


async def each_error() -> None:
    """Every echo as the error, or the reply, of one call."""
    async with Gemini(base_url=BASE_URL, timeout_seconds=1) as gemini:
        show(gemini)
        # What is longer than a socket takes at once goes another way, through httpx2.
        for beginning, name in product(("alone", "in much company " * 5_000), ECHOES):
            request = ImageRequest(model=LITE, prompt=f"{beginning} #echo {name}")
            show(request)
            try:
                show(await gemini.generate(request))
            except nanobatch.ProviderError as error:
                show_error(error)
            print(f"CALLED {name}")  # noqa: T201
        show(await gemini.generate(ImageRequest(model=LITE, prompt="a reply")))


async def errors_of_runs() -> None:
    many = [Job(id=f"{n}", prompt=f"a fox {n}") for n in range(20)]
    await must_fail(lambda: pipeline("filter", filters=[raises]).run(many))
    await must_fail(lambda: pipeline("progress").run(many, progress=refuses_to_hear))
    await must_fail(lambda: pipeline("whole").run([Job(id="job 5", prompt="another prompt")]))
    for name in ("400, invalid key", "403", "404", "429, daily"):
        job = Job(id=name, prompt=f"the end #echo {name}")
        show(await pipeline(f"end {name}").run([job], progress=show))

    async def bad_timeout() -> None:
        Gemini(os.environ["GEMINI_API_KEY"], timeout_seconds=-1)

    async def unusable_key() -> None:
        async with Gemini(os.environ["GEMINI_API_KEY"] + "\x7f"):
            pass

    async def unusable_proxy() -> None:
        os.environ["HTTPS_PROXY"] = "socks9://nowhere"
        try:
            async with Gemini():
                pass
        finally:
            del os.environ["HTTPS_PROXY"]

    await must_fail(bad_timeout)
    await must_fail(unusable_key)
    await must_fail(unusable_proxy)


async def main() -> None:
    await whole_run()
    await each_error()
    await errors_of_runs()


if __name__ == "__main__":
    warnings.simplefilter("always")
    logging.captureWarnings(capture=True)
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    for logger in ("httpx2", "httpcore2", "google_genai", "asyncio", "PIL"):
        logging.getLogger(logger).setLevel(logging.DEBUG)
    anyio.run(main, backend_options={"debug": True})
