"""Everything a pipeline was told, checked once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from nanobatch.backend import BatchBackend, JsonBackend
from nanobatch.errors import ConfigError
from nanobatch.filters.protocol import asks_model, name_of, parts_of, remembers
from nanobatch.policy import BatchOptions, Budget, Pace, Retry, StopRule

if TYPE_CHECKING:
    from pathlib import Path
    from types import UnionType

    from nanobatch.backend import ImageBackend
    from nanobatch.checkpoint import Checkpoint
    from nanobatch.models import ModelRegistry
    from nanobatch.pipeline.plan import Plan

__all__ = ["KeepRejected", "Options"]

KeepRejected: TypeAlias = Literal["thumbnail", "all", "none"]
"""What is kept of rejected images: a small WebP in the database, the file, or nothing."""


MAX_CONCURRENCY: Final = 10_000
"""Ten times what the largest quota lets in; each has a task of its own."""

_KINDS: Final[tuple[tuple[str, type | UnionType, str], ...]] = (
    ("budget", Budget, "Budget(usd='25.00')"),
    ("concurrency", int, "16"),
    ("retry", Retry, "Retry(tries=3)"),
    ("stop", StopRule, "StopRule()"),
    ("pace", Pace, "Pace(images_per_minute=100)"),
    ("batch", BatchOptions | None, "BatchOptions()"),
    ("filter_timeout_seconds", int | float, "60"),
    ("finish_fallback", bool, "True"),
    ("hurry", bool, "True"),
)
"""What each option is, and an example of it."""


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A pipeline's parts and numbers.

    Raises:
        ConfigError: A number is out of range, or a choice does not exist.
    """

    backend: ImageBackend
    registry: ModelRegistry
    plan: Plan
    checkpoint: Checkpoint | Path
    budget: Budget
    concurrency: int
    retry: Retry
    stop: StopRule
    pace: Pace
    keep_rejected: KeepRejected
    finish_fallback: bool
    filter_timeout_seconds: float
    hurry: bool
    batch: BatchOptions | None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        self._check_types()
        if not 1 <= self.concurrency <= MAX_CONCURRENCY:
            raise ConfigError(
                f"concurrency={self.concurrency}: at least 1 is needed, and at most "
                f"{MAX_CONCURRENCY:,} make sense."
            )
        if not self.filter_timeout_seconds > 0:
            raise ConfigError(
                f"filter_timeout_seconds={self.filter_timeout_seconds}: it must be above 0."
            )
        if self.keep_rejected not in ("thumbnail", "all", "none"):
            raise ConfigError(
                f"keep_rejected={self.keep_rejected!r}: choose 'thumbnail', 'all' or 'none'."
            )
        self._check_batch()
        for one in self.plan.all_filters:
            for part in parts_of(one):
                if asks_model(part) is not None and not isinstance(self.backend, JsonBackend):
                    raise ConfigError(
                        f"Filter {name_of(part)} asks a model, and the backend "
                        f"{type(self.backend).__name__} answers no questions: it has no "
                        "generate_json."
                    )
        for filters in (self.plan.filters, self.plan.finish_filters):
            parts = {id(part): part for one in filters for part in parts_of(one)}
            names = Counter(name_of(one) for one in parts.values() if remembers(one))
            for name, times in names.items():
                if times > 1:  # the memos of an image are stored by it
                    raise ConfigError(
                        f"{times} filters named {name!r} remember what was accepted: give each a "
                        "`name` of its own."
                    )

    def _check_types(self) -> None:
        """Refuse what is of another kind: many callers have no type checker."""
        backend = cast("object", self.backend)
        if isinstance(backend, type):
            raise ConfigError(f"{backend.__name__} is a class, not a backend: write it with ().")
        if not callable(getattr(backend, "generate", None)):
            raise ConfigError(
                f"The backend is {_kind(backend)} and has no method generate: pass Gemini(), or a "
                "backend of your own."
            )
        for name, kind, example in _KINDS:
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ConfigError(f"{name} is {_kind(value)}: write {name}={example}.")

    def _check_batch(self) -> None:
        if self.batch is None:
            return
        if not isinstance(self.backend, BatchBackend):
            raise ConfigError(
                f"batch=... needs a backend with a batch service, and "
                f"{type(self.backend).__name__} has none: it has no create_batch."
            )
        if self.hurry:
            raise ConfigError(
                "hurry=True draws surplus candidates at the full price to be done sooner, "
                "batch=... waits for half the price: leave one of them out."
            )
