"""What the user of the simulator asks of its batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Literal

from nanobatch.simulator.batch.schedule import Schedule, Seconds
from nanobatch.simulator.chance import digest
from nanobatch.simulator.files import MAX_FILE_BYTES

if TYPE_CHECKING:
    from nanobatch.simulator.answer import Answer
    from nanobatch.simulator.batch.operation import Lost, Operation

__all__ = ["End", "Picks", "Settings", "picks"]

Picks = float | Collection[str]
"""Which lines: a probability (0 to 1) for each, or their keys."""


class End(StrEnum):
    """What becomes of a job that nobody cancels."""

    SUCCEEDED = "SUCCEEDED"
    """All lines are worked on; some may still have failed."""

    FAILED = "FAILED"
    """An error for the whole job, no results."""

    EXPIRED = "EXPIRED"
    """48 hours have passed, no results."""

    STUCK = "STUCK"
    """It runs and runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How fast batch jobs go, and what goes wrong with them; by default nothing but the order.

    Raises:
        ValueError: A number is out of its range, or there is no such end.
        TypeError: One string stands where several keys should.
    """

    schedule: Schedule = field(default_factory=Seconds)
    """When a job moves on: `Polls` or `Seconds`."""

    ends: End | str | Sequence[End | str] = ()
    """What becomes of all jobs, or of the first ones in the order of their creation; the others
    succeed."""

    share_before_end: float = 0.0
    """How much of the lines, 0 to 1, is worked on and billed in a job that does not succeed."""

    shuffled: bool = True
    """Whether results come in another order than the lines."""

    missing: Picks = 0.0
    """Lines that are worked on and billed, and are not among the results."""

    duplicates: Picks = 0.0
    """Lines that are among the results twice; they are billed once."""

    strangers: int = 0
    """Results under keys that nobody sent, >= 0; they are not billed."""

    item_errors: Picks = 0.0
    """Lines whose result is an error; they are not billed."""

    item_error: tuple[int, str] = (3, "Request contains an invalid argument.")
    """Code (of `google.rpc.Code`) and message of that error."""

    bad_line: Literal["item", "job"] = "job"
    """What a line that is no JSON spoils: itself (`INVALID_ARGUMENT`), or the job (`FAILED`)."""

    drops_metadata: bool = False
    """Whether inline results lack the `metadata` of their requests."""

    heeds_cancel: bool = True
    """Whether `:cancel` has any effect; it is best effort."""

    cancel_polls: int = 0
    """Answers after `:cancel` that still show the job as it was, >= 0."""

    cancelled_results: bool = False
    """Whether a cancelled job has the results of the lines done before."""

    delete_cancels: bool = True
    """Whether deleting a job that runs also stops it."""

    list_lag: int = 0
    """Lists that do not show a new job yet, >= 0; only first pages count."""

    lost_creates: int = 0
    """The first jobs that are created without the client being told, >= 0."""

    lost_uploads: int = 0
    """The first files that are complete without the client being told, >= 0."""

    busy_downloads: int = 0
    """Downloads that get a 503 first, >= 0."""

    cut_downloads: int = 0
    """Downloads, after those, that end in the middle, >= 0."""

    chunked_downloads: bool = False
    """Whether a download does not announce its length."""

    fault: Callable[[Operation], Answer | Lost | None] | None = None
    """Takes over any request about files and jobs: an `Answer` is given instead of carrying it
    out, with `Lost` it is carried out and the answer is lost, `None` is the usual."""

    max_jobs: int = 100
    """Jobs that may be pending or running at once; one more gets a 429."""

    max_file_bytes: int = MAX_FILE_BYTES
    """Longest file that can be uploaded."""

    max_inline_result_bytes: int = 1_000_000_000
    """Longer inline results cannot be had: 503 first, then 504, and the job is billed.

    Source: https://discuss.ai.google.dev topic 174261, where 122 images of 2K (about 1 GB) came
    and 150 did not; collected on 2026-11-23.
    """

    def __post_init__(self) -> None:
        """Check the numbers."""
        for end in [self.ends] if isinstance(self.ends, str) else self.ends:
            if end not in set(End):
                raise ValueError(f"ends must be among {', '.join(End)}, not {end}.")
        for name in ("missing", "duplicates", "item_errors"):
            chosen: object = getattr(self, name)
            if isinstance(chosen, str):
                raise TypeError(f"{name} must be a fraction or several keys, not one string.")
            if isinstance(chosen, int | float) and not 0 <= chosen <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {chosen}.")
        if not 0 <= self.share_before_end <= 1:
            raise ValueError(
                f"share_before_end must be between 0 and 1, not {self.share_before_end}."
            )
        for name in ("strangers", "cancel_polls", "list_lag", "lost_creates", "lost_uploads",
                     "busy_downloads", "cut_downloads"):  # fmt: skip
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}.")

    def end_of(self, nth: int) -> End:
        """Return what becomes of a job before which so many were created."""
        if isinstance(self.ends, str):
            return End(self.ends)
        return End(self.ends[nth]) if nth < len(self.ends) else End.SUCCEEDED


def picks(chosen: Picks, key: str, *words: object) -> bool:
    """Return whether a line is among the chosen ones; these words always decide the same."""
    if isinstance(chosen, int | float):
        return Random(digest(*words, key)).random() < chosen  # noqa: S311 - reproducible on purpose
    return key in chosen
