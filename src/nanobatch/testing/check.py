"""Lets a filter judge the whole gallery and says what it does there, and what it should not do."""

from __future__ import annotations

import dataclasses
import pickle
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import anyio

from nanobatch.candidate import AcceptedImage
from nanobatch.errors import ConfigError
from nanobatch.filters.container import fault_in
from nanobatch.filters.protocol import (
    asks_model,
    checked,
    fingerprint,
    is_async,
    name_of,
    parts_of,
    remembers,
    worst_case_usd,
)
from nanobatch.models import Tier
from nanobatch.pipeline.opening import opened
from nanobatch.pipeline.panel import FilterFailed, Panel
from nanobatch.testing.gallery import gallery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.backend import JsonBackend, JsonRequest, Reply
    from nanobatch.candidate import Candidate, Verdict
    from nanobatch.filters import AnyFilter
    from nanobatch.models import Model
    from nanobatch.pipeline.judgement import Judgement
    from nanobatch.testing.gallery import GalleryImage

__all__ = ["CheckedImage", "FilterCheck", "check_filter"]

Outcome: TypeAlias = Literal["accepted", "rejected", "broken", "not shown", "failed"]

_SLOW_SECONDS = 1.0
_WORDS: dict[Outcome, str] = {
    "accepted": "accepts",
    "rejected": "rejects",
    "broken": "calls broken",
    "not shown": "is not shown",
    "failed": "fails on",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedImage:
    """What a filter said of one file."""

    image: GalleryImage
    outcome: Outcome
    """`not shown`: the pipeline's own check finds the file broken before any filter sees it."""

    reason: str = ""
    """Why it was rejected, broken or failed."""

    score: float | None = None
    """Larger is better; `None` if the filter does not rank."""
    usd: Decimal = Decimal(0)
    seconds: float = 0.0
    """How long the filter took, with the picture decoded already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterCheck:
    """The report on one filter; `str()` shows it as a table."""

    name: str
    images: tuple[CheckedImage, ...]
    problems: tuple[str, ...]
    """What will bite in a run; empty if there is nothing."""

    notes: tuple[str, ...]
    """What is good to know and no fault."""

    @property
    def is_sound(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    @property
    def usd(self) -> Decimal:
        """What one round over the gallery cost, USD."""
        return sum((one.usd for one in self.images), Decimal(0))

    @property
    def median_seconds(self) -> float:
        """How long it takes for one image, with the picture decoded already; 0 if it saw none."""
        times = [one.seconds for one in self.images if one.outcome != "not shown"]
        return statistics.median(times) if times else 0.0

    def count(self, outcome: Outcome, kind: str | None = None) -> int:
        """Return how many files, of one kind if given, came to an outcome."""
        return sum(one.outcome == outcome and kind in (None, one.image.kind) for one in self.images)

    def __str__(self) -> str:
        """Show outcomes, time, price, problems and notes."""
        lines = [f"Filter {self.name} on {len(self.images)} files:"]
        for kind in dict.fromkeys(one.image.kind for one in self.images):
            counts = {word: self.count(outcome, kind) for outcome, word in _WORDS.items()}
            shown = ", ".join(f"{word} {count}" for word, count in counts.items() if count)
            lines.append(f"  {kind:8} {shown}")
        lines.append(
            f"  {self.median_seconds * 1e3:.1f} ms an image (median), {self.usd} USD in all"
        )
        lines += [f"  problem: {problem}" for problem in self.problems]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def check_filter(
    filter: AnyFilter,  # noqa: A002 - the word of this library
    *,
    images: Sequence[GalleryImage] | None = None,
    timeout_seconds: float = 60.0,
    backend: JsonBackend | None = None,
) -> FilterCheck:
    """Let a filter judge a gallery as a pipeline would, and look for what bites in a run.

    It is asked about every file twice, the second time about several at once; a filter that costs
    money only once, and its calls are made and paid. Looked for are: exceptions, answers that are
    no verdict, pictures it changes, another answer to the same question, more USD than it
    announced, a `seen` that raises, no name, answers that take longer than a second.

    ```python
    def test_my_filter() -> None:
        check = check_filter(Sharp(least=0.4))
        assert check.is_sound, check
        assert check.count("rejected", "good") == 0, check
    ```

    Args:
        filter: Any filter.
        images: What it judges; `gallery()` if not given.
        timeout_seconds: Deadline of one judgement.
        backend: Whom a filter asks that asks a model, for instance `Gemini()`, not yet opened;
            its calls are made without budget and without further tries.

    Raises:
        ConfigError: It is no filter, or asks a model and there is no backend.
    """
    one = checked(filter)
    if backend is None and any(asks_model(part) is not None for part in parts_of(one)):
        raise ConfigError(
            f"Filter {name_of(one)} asks a model: pass check_filter(..., backend=Gemini()), or one "
            "that speaks to the simulator."
        )
    check = _Check(one, images or gallery(), timeout_seconds=timeout_seconds, backend=backend)
    found: list[FilterCheck | BaseException] = []

    def run() -> None:  # in a thread of its own: here an event loop may be running
        try:
            found.append(anyio.run(check.run))
        except BaseException as error:  # noqa: BLE001 - raised below
            found.append(error)

    thread = threading.Thread(target=run, name="nanobatch check_filter")
    thread.start()
    thread.join()
    [outcome] = found
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


class _Check:
    """One check at work."""

    def __init__(
        self,
        one: AnyFilter,
        images: Sequence[GalleryImage],
        *,
        timeout_seconds: float,
        backend: JsonBackend | None,
    ) -> None:
        self._backend = backend
        self._filter = one
        self._images = images
        self._panel = Panel(timeout_seconds=timeout_seconds)
        self._problems: dict[str, None] = {}
        self._notes: dict[str, None] = {}
        self._memos: dict[str, dict[str, bytes]] = {}

    async def run(self) -> FilterCheck:
        """Check it, with an open backend if it needs one."""
        if self._backend is None:
            return await self._run()
        async with opened(self._backend):
            return await self._run()

    async def _run(self) -> FilterCheck:
        stated = worst_case_usd(self._filter)
        self._look_at_the_object(stated)
        first = [await self._judge(image) for image in self._images]
        if stated:
            self._notes["It costs money, so it was asked once about each file."] = None
        else:
            await self._judge_again(first)
        if remembers(self._filter):
            await self._tell(first)
        await self._look_at_the_clock(first, is_free=not stated)
        return FilterCheck(
            name=name_of(self._filter),
            images=tuple(first),
            problems=tuple(self._problems),
            notes=tuple(self._notes),
        )

    async def _judge(self, image: GalleryImage) -> CheckedImage:
        candidate = image.candidate()
        if fault_in(image.image_bytes) is not None:
            return CheckedImage(image=image, outcome="not shown")
        looked = _Look(self._panel, self._problems, self._backend)
        try:
            judgement = await self._panel.judge(candidate, [self._filter], ask=looked.ask)
        except FilterFailed as failed:
            self._problems[f"{image.name}: {failed}"] = None
            return CheckedImage(
                image=image, outcome="failed", reason=str(failed), seconds=looked.seconds
            )
        self._memos[image.name] = judgement.memos
        return CheckedImage(
            image=image,
            outcome=_outcome(judgement),
            reason=judgement.reason,
            score=judgement.score,
            usd=looked.usd,
            seconds=looked.seconds,
        )

    async def _look_at_the_clock(self, first: Sequence[CheckedImage], *, is_free: bool) -> None:
        """Take note of what was slow; on a busy machine that may be chance, so not of one time."""
        slowest = max(first, key=lambda one: one.seconds)
        seconds = slowest.seconds
        if seconds > _SLOW_SECONDS and is_free:
            seconds = min(seconds, (await self._judge(slowest.image)).seconds)
        if seconds > _SLOW_SECONDS:
            self._problems[f"It took {seconds:.1f} s for {slowest.image.name}."] = None

    async def _judge_again(self, first: Sequence[CheckedImage]) -> None:
        again: dict[str, CheckedImage] = {}

        async def judge(image: GalleryImage) -> None:
            again[image.name] = await self._judge(image)

        async with anyio.create_task_group() as group:
            for image in self._images:
                group.start_soon(judge, image)
        for one in first:
            if _verdict(one) != _verdict(again[one.image.name]):
                self._problems[
                    f"{one.image.name}: asked again, it gave another answer. Filters must say the "
                    "same of the same file, also when they judge several at once."
                ] = None

    async def _tell(self, first: Sequence[CheckedImage]) -> None:
        """Tell it of what it accepted, with its memo and without, as a later run would."""
        with tempfile.TemporaryDirectory() as folder:
            for number, one in enumerate(first, 1):
                if one.outcome != "accepted":
                    continue
                path = Path(folder) / f"{number}.image"
                await anyio.to_thread.run_sync(path.write_bytes, one.image.image_bytes)
                accepted = _accepted(one, number, path)
                for memos in (self._memos[one.image.name], {}):
                    try:
                        await self._panel.remember([self._filter], accepted, memos)
                    except FilterFailed as failed:
                        with_memo = "with its memo" if memos else "without a memo"
                        self._problems[f"{one.image.name}, seen {with_memo}: {failed}"] = None

    def _look_at_the_object(self, stated: Decimal) -> None:
        for part in parts_of(self._filter):
            shown = cast("object", getattr(part, "name", getattr(part, "__name__", "")))
            if not isinstance(shown, str) or not shown or shown == "<lambda>":
                self._problems["It has no name of its own: reports show its class."] = None
            if vars_of(part) and not dataclasses.is_dataclass(part):
                self._notes[
                    f"{name_of(part)} has attributes and is no dataclass: checkpoints do not "
                    "notice when a parameter changes."
                ] = None
        if not (is_async(self._filter) or remembers(self._filter) or stated):
            try:
                copy = pickle.loads(pickle.dumps(self._filter))  # noqa: S301 - our own bytes
            except Exception as error:  # noqa: BLE001 - pickling may raise anything
                self._notes[f"It does not pickle ({error}), so Isolated cannot hold it."] = None
            else:
                if fingerprint(copy) != fingerprint(self._filter):
                    self._problems["A copy of it has another fingerprint."] = None


class _Look:
    """Asks the parts of a filter about one candidate and looks at what each of them did."""

    def __init__(
        self, panel: Panel, problems: dict[str, None], backend: JsonBackend | None
    ) -> None:
        self._backend = backend
        self._panel = panel
        self._problems = problems
        self.seconds = 0.0
        self.usd = Decimal(0)

    async def ask(self, part: AnyFilter, candidate: Candidate) -> Verdict:
        picture = candidate.image  # decoded now, so that it does not count for the filter
        started = time.perf_counter()
        try:
            verdict = await self._panel.answer(part, candidate, ask_model=self._ask_model)
        finally:
            self.seconds += time.perf_counter() - started
            candidate.forget_changes()
            if candidate.__dict__.get("image") is not picture:
                self._problems[
                    f"{name_of(part)} changes the shared picture, which is then decoded anew for "
                    "the next filter: let it work on candidate.image.copy()."
                ] = None
        self.usd += verdict.usd
        if verdict.usd > worst_case_usd(part):
            self._problems[
                f"{name_of(part)} charged {verdict.usd} USD, more than the {worst_case_usd(part)} "
                "USD of its worst_case_usd."
            ] = None
        return verdict

    async def _ask_model(self, request: JsonRequest, model: Model) -> Reply:
        del model
        if self._backend is None:
            raise ConfigError("There is no backend to ask.")
        return await self._backend.generate_json(request)


def vars_of(part: object) -> dict[str, object]:
    """Return what an object holds; nothing for a function."""
    if callable(part) and hasattr(part, "__code__"):
        return {}
    held = cast("dict[str, object]", getattr(part, "__dict__", {}))
    return {name: value for name, value in held.items() if name != "name"}


def _outcome(judgement: Judgement) -> Outcome:
    if judgement.is_broken:
        return "broken"
    return "accepted" if judgement.accepted else "rejected"


def _verdict(one: CheckedImage) -> tuple[object, ...]:
    return one.outcome, one.reason, one.score


def _accepted(one: CheckedImage, number: int, path: Path) -> AcceptedImage:
    candidate = one.image.candidate()
    return AcceptedImage(
        job_id=candidate.job.id,
        number=number,
        path=path,
        sha256=candidate.sha256,
        mime_type=candidate.mime_type,
        width_px=candidate.width_px,
        height_px=candidate.height_px,
        model_id=candidate.model_id,
        tier=Tier.LITE,
        usd=Decimal(0),
        score=one.score,
        prompt=candidate.job.prompt,
        slot=number,
    )
