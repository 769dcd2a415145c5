"""Which call of a long batch meets which fault: by the job and by chance, never by the clock."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random
from typing import TYPE_CHECKING

from nanobatch import Job, JobStatus
from nanobatch.simulator import answers
from tests.load import hostile

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch.simulator import Answer, Call

FAULT_SHARE = 0.25  # of all calls it is a fifth: the hopeless prompts get only blank pictures
SEED = 20_261_124
CONCURRENCY = 8

ENDS_THE_RUN = {
    "daily_quota",
    "forbidden",
    "invalid_key",
    "no_credit",
    "not_found",
    "quota_zero",
    "withdrawn",
}
"""Faults after which no call can work: tests/pipeline/test_endings.py is about them."""

MILD: dict[str, Callable[[], Answer]] = {
    "altered": lambda: answers.altered(lambda body: body + b"}"),
    "animated": answers.animated,
    "bad_base64": answers.bad_base64,
    "blocked": answers.blocked,
    "bomb": answers.bomb,
    "capacity": answers.capacity,
    "close": answers.close,
    "cut": answers.cut,
    "deadline": answers.deadline,
    "drip": lambda: answers.drip(0.01),
    "empty_body": answers.empty_body,
    "empty_content": answers.empty_content,
    "endless_body": answers.endless_body,
    "error": lambda: answers.error(400, "This prompt is not for images."),
    "gzipped": answers.gzipped,
    "image_refused": answers.image_refused,
    "interim_flood": answers.interim_flood,
    "internal": answers.internal,
    "json_value": answers.json_value,
    "mislabelled": answers.mislabelled,
    "no_content": answers.no_content,
    "no_image": answers.no_image,
    "not_json": answers.not_json,
    "overloaded": answers.overloaded,
    "overloaded_html": answers.overloaded_html,
    "parts_null": answers.parts_null,
    "prohibited": answers.prohibited,
    "rate_limited": answers.rate_limited,
    "redirect": lambda: answers.redirect("https://example.org/elsewhere"),
    "reset": answers.reset,
    "reset_in_body": answers.reset_in_body,
    "reset, billed": lambda: answers.reset(billed=True),
    "several_images": lambda: answers.several_images(3),
    "slow": lambda: answers.slow(60),
    "spend_limit": lambda: answers.spend_limit().with_headers(("retry-after", "0.1")),
    "stall": answers.stall,
    "stall_in_body": answers.stall_in_body,
    "svg": answers.svg,
    "text_only": answers.text_only,
    "text_then_image": answers.text_then_image,
    "thought_then_image": answers.thought_then_image,
    "truncated_image": answers.truncated_image,
    "truncated_json": answers.truncated_json,
    "unknown_finish_reason": answers.unknown_finish_reason,
    "without_usage": answers.without_usage,
}
"""Every kind of answer of the simulator that is not simply an image, and does not end the run."""

HEAVY: dict[str, Callable[[], Answer]] = {
    "deep_json": hostile.deep_json,
    "gzip_bomb": hostile.gzip_bomb,
    "huge_header": hostile.huge_header,
    "large_text": hostile.large_text,
    "many_headers": hostile.many_headers,
    "many_values": hostile.many_values,
}

_LARGE = ("large_announced", "large_body", "large_error")
"""1 GiB: with an honest length, without one, and as an error."""

_TERMINAL = {
    "blocked": JobStatus.REFUSED,
    "prohibited": JobStatus.REFUSED,
    "error": JobStatus.FAILED,
}
_IMPOSSIBLE_EVERY = 60


def jobs(count: int) -> list[Job]:
    return [Job(id=f"job-{number}", prompt=f"{number} dunes at night") for number in range(count)]


class Mix:
    """Gives the faults and remembers which."""

    def __init__(self) -> None:
        self.given: defaultdict[int, list[str]] = defaultdict(list)
        """Faults by job, in the order in which it met them."""
        self.large: list[hostile.Written] = []
        self._cycle = [*MILD, *HEAVY, *_LARGE]
        Random(SEED).shuffle(self._cycle)

    @property
    def counts(self) -> Counter[str]:
        """How often each fault was given."""
        return Counter(kind for kinds in self.given.values() for kind in kinds)

    @property
    def kinds(self) -> set[str]:
        """All faults there are."""
        return set(self._cycle)

    def __call__(self, call: Call) -> Answer | None:
        """Answer a call; `None` leaves it to the simulator, which draws a good image."""
        number = int(call.prompt.split()[0])
        if self.is_impossible(number):
            return answers.image("blank")
        kind = self._kind(number, call.nth)
        if kind is None:
            return None
        self.given[number].append(kind)
        if kind in _LARGE:
            self.large.append(hostile.Written(offered_bytes=hostile.GIB))
            return hostile.large_body(
                self.large[-1],
                is_error=kind == "large_error",
                is_announced=kind != "large_body",
            )
        return (MILD | HEAVY)[kind]()

    def _kind(self, number: int, nth: int) -> str | None:
        """All calls of the first wave get 1 GiB; after that every fourth job, and chance."""
        if nth == 0 and number < CONCURRENCY:
            return "large_body"
        if nth == 0 and number % round(1 / FAULT_SHARE) == 0:
            return self._cycle[number // round(1 / FAULT_SHARE) % len(self._cycle)]
        chance = Random(f"{SEED} {number} {nth}")
        if nth > 0 and chance.random() < FAULT_SHARE:
            return chance.choice(self._cycle)
        return None

    @staticmethod
    def is_impossible(number: int) -> bool:
        """Whether nothing that is drawn for this job can ever pass."""
        return number % _IMPOSSIBLE_EVERY == _IMPOSSIBLE_EVERY - 1

    def expected(self, number: int) -> JobStatus:
        """What must become of a job: one fault that is final decides it, all others are mended."""
        if self.is_impossible(number):
            return JobStatus.STOPPED
        found = (_TERMINAL[kind] for kind in self.given[number] if kind in _TERMINAL)
        return next(found, JobStatus.DONE)
