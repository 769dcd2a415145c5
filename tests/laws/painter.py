"""An image model in memory that keeps its own bill, and a filter with a price of its own.

Both write down what they charge before they answer, in a diary that a kill cannot take back: the
oracle of the laws is what really happened outside, not what the library says of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
from PIL import Image

from nanobatch import (
    AccountError,
    BadRequestError,
    ImageRequest,
    Model,
    ModelGoneError,
    Reply,
    TokenUsage,
    TransientError,
    Verdict,
)
from nanobatch.models import PriceRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nanobatch import Candidate, Job

IMAGE_TOKENS = 1000
LITE_CAP_TOKENS = 2500
REFUSAL = "The painter refuses this request."


def _model(model_id: str, *, factor: int, cap: int | None) -> Model:
    """One, ten and a hundred dollars per million tokens of input, text and image, times `factor`.

    So an input token of the plain model is 1,000 nano-dollars, and so on: see `NANO`.
    """
    price = PriceRow(
        effective_from=date(2026, 1, 1),
        input_usd_per_million_tokens=Decimal(factor),
        text_output_usd_per_million_tokens=Decimal(10 * factor),
        image_output_usd_per_million_tokens=Decimal(100 * factor),
    )
    return Model(
        id=model_id,
        sizes=("1K",),
        aspect_ratios=("1:1",),
        image_tokens={"1K": IMAGE_TOKENS},
        prices=(price,),
        max_reserved_output_tokens=cap,
    )


LITE = _model("sketcher", factor=1, cap=LITE_CAP_TOKENS)
QUALITY = _model("painter", factor=2, cap=None)
FACTOR = {LITE.id: 1, QUALITY.id: 2}


def nano(model: str, *, prompt: int = 0, text: int = 0, image: int = 0) -> int:
    """Return what tokens cost, in nano-dollars: this module's own arithmetic."""
    return FACTOR[model] * (1_000 * prompt + 10_000 * text + 100_000 * image)


def worst_case(request: ImageRequest) -> int:
    """Return the most a request can cost, by the rule of the reference, in nano-dollars."""
    prompt = len(request.prompt.encode()) + 1120 * len(request.input_images)
    if request.model == LITE.id:
        return nano(LITE.id, prompt=prompt, image=LITE_CAP_TOKENS)
    return nano(request.model, prompt=prompt, text=2048, image=2 * IMAGE_TOKENS)


class Told(StrEnum):
    """What an answer says of its own cost."""

    USED = "used"
    """All of it."""
    SILENT = "silent"
    """Nothing, though it is there."""
    LOST = "lost"
    """There was no answer."""
    FREE = "free"
    """An error, which costs nothing."""


class Fate(StrEnum):
    """What becomes of a call."""

    GOOD = "good"
    DULL = "dull"
    TWO = "two"
    BROKEN = "broken"
    EMPTY = "empty"
    UNSAFE = "unsafe"
    BLOCKED = "blocked"
    SILENT = "silent"
    BUSY = "busy"
    DOWN = "down"
    LOST = "lost"
    BAD = "bad"
    GONE = "gone"
    BROKE = "broke"
    SLIP = "slip"


WEATHER: dict[str, dict[Fate, int]] = {
    "fine": {Fate.GOOD: 6, Fate.DULL: 2, Fate.TWO: 1},
    "dull": {Fate.DULL: 6, Fate.BROKEN: 1, Fate.EMPTY: 1},
    "rough": {
        **dict.fromkeys(Fate, 0),
        Fate.GOOD: 6,
        Fate.DULL: 2,
        Fate.TWO: 1,
        Fate.BROKEN: 2,
        Fate.EMPTY: 1,
        Fate.SILENT: 2,
        Fate.BUSY: 1,
        Fate.DOWN: 2,
        Fate.LOST: 3,
    },
    "storm": {Fate.BUSY: 2, Fate.DOWN: 2, Fate.LOST: 4, Fate.GOOD: 1, Fate.SILENT: 1},
    "hostile": dict.fromkeys(Fate, 1) | {Fate.GOOD: 5},
}

_TOLD = {
    Fate.SILENT: Told.SILENT,
    Fate.LOST: Told.LOST,
    Fate.SLIP: Told.LOST,
    **dict.fromkeys((Fate.BUSY, Fate.DOWN, Fate.BAD, Fate.GONE, Fate.BROKE), Told.FREE),
}
_IMAGES = {
    Fate.TWO: 2,
    **dict.fromkeys((Fate.GOOD, Fate.DULL, Fate.BROKEN, Fate.SILENT, Fate.LOST, Fate.SLIP), 1),
}
"""Images drawn, whether they arrive or not."""


class PainterSlippedError(Exception):
    """What a backend with a bug raises."""


class Diary:
    """Lines appended to a file at once, so that whoever is killed has written them."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR)
        self._read_to = 0

    def write(self, **entry: Any) -> None:
        os.write(self._descriptor, json.dumps(entry).encode() + b"\n")

    def news(self) -> list[dict[str, Any]]:
        """Return what was written since the last time."""
        end = os.fstat(self._descriptor).st_size
        lines = os.pread(self._descriptor, end - self._read_to, self._read_to)
        self._read_to = end
        return [json.loads(line) for line in lines.splitlines()]

    def close(self) -> None:
        os.close(self._descriptor)


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 99, 200)).save(file, "PNG")
    return file.getvalue()


PNG = _png()


@dataclass(kw_only=True)
class Painter:
    """Draws by chance, charges what it says in the diary, and minds what it is asked for."""

    diary: Diary
    jobs: Mapping[str, Job]
    """By prompt; no two jobs share one."""
    accepted: Counter[str]
    """Accepted images by job id; kept up to date by whoever hears of them."""
    refused: set[str]
    """Prompts it will not be asked for again."""
    weather: str
    seed: int
    first_number: int
    on_send: Callable[[], None] = lambda: None
    in_flight: Counter[tuple[str, bool]] = field(default_factory=Counter[tuple[str, bool]])
    drawn: set[str] = field(default_factory=set[str])
    """Hashes of all images ever drawn."""

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self._number = self.first_number

    async def aclose(self) -> None:
        return

    async def generate(self, request: ImageRequest) -> Reply:
        job = self.jobs[request.prompt.rpartition("\n")[2]]
        is_finish = bool(request.input_images)
        self._mind(job, request, is_finish=is_finish)
        self.in_flight[job.id, is_finish] += 1
        try:
            return await self._answer(job, request)
        finally:
            self.in_flight[job.id, is_finish] -= 1

    def _mind(self, job: Job, request: ImageRequest, *, is_finish: bool) -> None:
        """Nothing is bought for a done job, and nothing that could become a surplus image."""
        assert job.prompt not in self.refused, "it was refused"
        missing = job.want - self.accepted[job.id]
        slots = missing if is_finish else missing * job.best_of
        assert self.in_flight[job.id, is_finish] < slots, "a call that nobody needs"
        for draft in request.input_images:
            assert hashlib.sha256(draft).hexdigest() in self.drawn

    async def _answer(self, job: Job, request: ImageRequest) -> Reply:
        number, self._number = self._number, self._number + 1
        weights = WEATHER[self.weather]
        [fate] = self._random.choices(list(weights), list(weights.values()))
        told = _TOLD.get(fate, Told.USED)
        images = self._images(number, fate)
        self.drawn |= {hashlib.sha256(image).hexdigest() for image in images}
        usage = TokenUsage(
            prompt_tokens=len(request.prompt.encode()) // 3 + 1000 * len(request.input_images),
            text_tokens=self._random.randrange(40),
            image_tokens=IMAGE_TOKENS * len(images),
        )
        charged = 0
        if told is not Told.FREE and not (told is Told.LOST and self._random.random() < 0.5):
            charged = nano(
                request.model,
                prompt=usage.prompt_tokens,
                text=usage.text_tokens,
                image=usage.image_tokens,
            )
        self.diary.write(
            kind="call",
            number=number,
            job=job.id,
            fate=fate,
            told=told,
            charged=charged,
            worst=worst_case(request),
            images=[hashlib.sha256(image).hexdigest() for image in images],
        )
        self.on_send()
        for _ in range(self._random.randrange(6)):
            await anyio.lowlevel.checkpoint()
        self.on_send()
        return _reply(fate, number, images, None if told is Told.SILENT else usage)

    def _images(self, number: int, fate: Fate) -> tuple[bytes, ...]:
        """Return files that differ from all others and say what the eye will think of them."""
        whole = PNG[:-6] if fate is Fate.BROKEN else PNG
        return tuple(
            whole + f" {number}.{i} {'dull' if fate is Fate.DULL or i else 'good'}".encode()
            for i in range(_IMAGES.get(fate, 0))
        )


def _reply(fate: Fate, number: int, images: tuple[bytes, ...], usage: TokenUsage | None) -> Reply:
    """Return or raise what the caller gets; faults of unknown cost carry the call's number."""
    match fate:
        case Fate.BUSY:
            raise TransientError("Slower.", kind="rate_limit", status=429, slow_down=True)
        case Fate.DOWN:
            raise TransientError("Down.", kind="server_error", status=500)
        case Fate.LOST:
            raise TransientError("No answer.", kind=f"lost {number}", is_unknown_money=True)
        case Fate.BAD:
            raise BadRequestError(REFUSAL, kind="bad_request", status=400)
        case Fate.GONE:
            raise ModelGoneError("No such model.", kind="model_gone", status=404)
        case Fate.BROKE:
            raise AccountError("No credit.", kind="no_credit", status=402)
        case Fate.SLIP:
            raise PainterSlippedError
        case Fate.BLOCKED:
            return Reply(usage=usage, block_reason="PROHIBITED_CONTENT")
        case Fate.UNSAFE:
            return Reply(usage=usage, finish_reason="IMAGE_SAFETY")
        case _:
            return Reply(images=images, usage=usage, finish_reason="STOP")


@dataclass(kw_only=True)
class Eye:
    """Accepts what the painter meant to be good; it may cost money, and it may fail.

    What differs from run to run is not shown: it is the same filter to the pipeline.
    """

    usd: Decimal
    """Its worst case; 0 if it is free."""
    diary: Diary = field(repr=False)
    seed: int = field(repr=False)
    failures: float = field(repr=False)
    """Share of its calls that raise."""
    name: str = "eye"

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    @property
    def worst_case_usd(self) -> Decimal:
        return self.usd

    async def __call__(self, candidate: Candidate) -> Verdict:
        is_failing = self._random.random() < self.failures
        worst = int(self.usd * 10**9)
        charged = self._random.randint(0, worst)
        told = Told.LOST if is_failing else Told.USED
        self.diary.write(kind="judge", told=told, charged=charged, worst=worst)
        await anyio.lowlevel.checkpoint()
        if is_failing:
            raise RuntimeError("The eye is tired.")
        words = candidate.image_bytes.rpartition(b" ")
        return Verdict(
            accepted=words[2] == b"good",
            reason="dull",
            score=float(self._random.randrange(4)),
            usd=Decimal(charged).scaleb(-9),
        )
