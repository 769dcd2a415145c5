"""Tuning a threshold: what a finished batch would have come to at each value of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from nanobatch.checkpoint import Checkpoint
from nanobatch.cost.table import show_percent
from nanobatch.errors import ConfigError
from nanobatch.filters.protocol import name_of, remembers
from nanobatch.models import ModelRegistry
from nanobatch.pipeline.panel import Panel
from nanobatch.pipeline.sync import refuse_running_loop
from nanobatch.report.contact_sheet import contact_sheet
from nanobatch.report.grid import Answers, GridFilter, at_threshold
from nanobatch.report.judged import Unjudged
from nanobatch.report.rejudge import Rejudging
from nanobatch.report.replay import add_up, free, root_of
from nanobatch.report.side_by_side import NONE, as_html, as_text, show_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from decimal import Decimal
    from pathlib import Path

    from PIL.Image import Image

    from nanobatch.checkpoint import CheckpointReader
    from nanobatch.cost import Estimate
    from nanobatch.filters import AnyFilter
    from nanobatch.report.judged import ReplayedCandidate
    from nanobatch.report.outcome import Replay
    from nanobatch.report.side_by_side import Rows

__all__ = ["Tuning", "TuningPoint", "tune", "tune_sync"]

_T = TypeVar("_T", int, float)

_COLOURS = ("#208020", "#c02020")
"""Of the frames: passing only now, rejected only now."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TuningPoint:
    """One threshold, and what the batch would have come to with it."""

    threshold: float
    """In the unit of the filter that was made from it."""
    outcome: Replay
    """All figures and every image, as `replay` returns them."""

    @property
    def accept(self) -> Estimate | None:
        """Accepted images per slot, with Wilson's interval at 95 %; `None` without slots."""
        return self.outcome.after.accept

    @property
    def usd_per_accepted(self) -> Decimal | None:
        """Confirmed USD of the batch per accepted image, exact; `None` if none is accepted."""
        return self.outcome.after.usd_per_accepted

    @property
    def newly_passing(self) -> tuple[ReplayedCandidate, ...]:
        """Images that were rejected in the run and pass at this threshold."""
        return self.outcome.newly_passing

    @property
    def newly_rejected(self) -> tuple[ReplayedCandidate, ...]:
        """Images that had passed in the run and are rejected at this threshold."""
        return self.outcome.newly_rejected

    @property
    def is_exact(self) -> bool:
        """Whether no image that could not be judged matters to the figures."""
        return self.outcome.whole.is_exact

    def __repr__(self) -> str:
        """Show the threshold and what is accepted."""
        return f"<TuningPoint {self.threshold:g}: {self.outcome.after.accepted} accepted>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tuning:
    """A batch at every threshold of a grid.

    It shows itself as a table: `print(tuning)`, or the last line of a notebook cell.
    """

    filter_name: str
    points: tuple[TuningPoint, ...]
    """In the order of the grid."""

    def __getitem__(self, threshold: float) -> TuningPoint:
        """Return the point of a threshold of the grid.

        Raises:
            KeyError: It is not in the grid.
        """
        for point in self.points:
            if point.threshold == threshold:
                return point
        raise KeyError(threshold)

    def contact_sheet(
        self,
        threshold: float,
        *,
        instead_of: float | None = None,
        columns: int = 6,
        side_px: int = 160,
        max_images: int = 60,
    ) -> Image:
        """Return a picture of the images that change sides at a threshold, with the reasons.

        Look at it before you believe the figures. Files that are gone by now are grey.

        Args:
            threshold: One of the grid.
            instead_of: Another one to compare it with; the run if not given.
            columns: Thumbnails next to each other, >= 1.
            side_px: Longer side of a thumbnail, in pixels, >= 16.
            max_images: Thumbnails of each kind, >= 1; the title says how many images there are.

        Raises:
            KeyError: A threshold is not in the grid.
            ConfigError: A number is too small.
        """
        if columns < 1 or side_px < 16 or max_images < 1:  # noqa: PLR2004 - as documented
            raise ConfigError(
                f"contact_sheet: columns={columns}, side_px={side_px}, max_images={max_images}: "
                "they must be at least 1, 16 and 1."
            )
        now = self[threshold].outcome.candidates
        if instead_of is None:
            then = [one.passed_before for one in now]
        else:
            then = [one.passes_after for one in self[instead_of].outcome.candidates]
        pairs = list(zip(now, then, strict=True))
        passing = [one for one, before in pairs if before is False and one.passes_after is True]
        rejected = [one for one, before in pairs if before is True and one.passes_after is False]
        of = "" if instead_of is None else f", not at {instead_of:g}"
        rows = [
            (f"Passing at {threshold:g}{of}: {len(passing):,}", _COLOURS[0], passing[:max_images]),
            (
                f"Rejected at {threshold:g}{of}: {len(rejected):,}",
                _COLOURS[1],
                rejected[:max_images],
            ),
        ]
        return contact_sheet(rows, columns=columns, side_px=side_px)

    def __repr__(self) -> str:
        """Show the filter and the grid in a line."""
        return f"<Tuning of {self.filter_name} at {len(self.points)} thresholds>"

    def __str__(self) -> str:
        """Show a line for each threshold, and say what limits the answer."""
        return as_text([self._table()], self._sentences())

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        return as_html([self._table()], self._sentences())

    def _table(self) -> Rows:
        is_exact = all(point.is_exact for point in self.points)
        head = [
            self.filter_name,
            "accepted",
            "accept rate",
            "interval, 95 %",
            "USD per accepted",
            "passing now",
            "rejected now",
        ]
        return [
            (*head, *(() if is_exact else ("accepted, at fewest", "at most"))),
            *(_row(point, is_exact=is_exact) for point in self.points),
        ]

    def _sentences(self) -> Iterator[str]:
        if not self.points:
            return
        one = self.points[0].outcome
        before = one.before
        yield (
            f"In the run: {before.accepted:,} accepted of {before.slots:,} slots, "
            f"{show_percent(before.accept_rate)}, USD {show_cost(before)} per accepted image."
        )
        if not one.whole.unjudged:
            return
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in one.unjudged.items())
        yield f"Not judged, so the verdict stays: {one.whole.unjudged:,} ({reasons})."
        if one.unjudged.get(Unjudged.NOT_KEPT):
            yield (
                "A run with keep_rejected='all' keeps its rejected images; without them, the "
                "figures are exact only for thresholds that reject more."
            )


async def tune(
    checkpoint: CheckpointReader | str | Path,
    filter_of: Callable[[_T], AnyFilter],
    grid: Iterable[_T],
    *,
    filters: Sequence[AnyFilter] = (),
    finish_filters: Sequence[AnyFilter] | None = None,
    registry: ModelRegistry | None = None,
    filter_timeout_seconds: float = 60.0,
) -> Tuning:
    """Judge the images of a checkpoint at every threshold of a grid and say what each would cost.

    Nothing is sent, nothing is spent, and the checkpoint is not changed. Every file is read and
    decoded once, and every filter is asked once about an image. What `replay` says about its
    answers holds for each threshold: they are about the images that were bought, and exact where
    every image could be judged, as after a run with `keep_rejected="all"`.

    ```python
    from nanobatch.filters import Sharpness

    def at(share: float) -> Sharpness:
        return Sharpness(min_sharpness=share)

    tuning = await tune("runs/wallpapers", at, [0.3, 0.4, 0.5])
    print(tuning)
    tuning.contact_sheet(0.5).save("changes.png")
    ```

    Args:
        checkpoint: A folder, or an open checkpoint.
        filter_of: Makes the filter of a threshold.
        grid: The thresholds, at least one, each once.
        filters: What else a candidate or a draft has to pass, before this filter.
        finish_filters: What else a finished image has to pass; the same if not given.
        registry: Knows in which shapes the models of drafts draw; the built-in one if not given.
        filter_timeout_seconds: Deadline of one filter on one image, > 0. An image whose filter
            raises or misses it is not judged, at any threshold.

    Raises:
        ConfigError: A filter costs money or remembers images, or an argument cannot be meant.
        FilterError: Filters failed ten times in a row.
        CheckpointError: The checkpoint cannot be read.
    """
    thresholds = tuple(grid)
    if not thresholds or len(set(thresholds)) < len(thresholds):
        raise ConfigError(f"tune: the grid must hold thresholds, each once, not {thresholds!r}.")
    if not filter_timeout_seconds > 0:
        raise ConfigError(f"filter_timeout_seconds={filter_timeout_seconds}: it must be above 0.")
    tuned = tuple(_forgetful(filter_of(threshold)) for threshold in thresholds)
    panel = Panel(timeout_seconds=filter_timeout_seconds)
    answers: Answers = []
    charges: list[str] = []

    def grid_filter(before: Iterable[AnyFilter]) -> GridFilter:
        return GridFilter(
            before=tuple(map(_forgetful, before)),
            grid=tuned,
            panel=panel,
            answers=answers,
            charges=charges,
        )

    first = grid_filter(filters)
    with Checkpoint.read(root_of(checkpoint)) as reader:
        moment = reader.moment()
        rejudging = Rejudging(
            reader,
            moment,
            filters=(first,),
            finish_filters=(first if finish_filters is None else grid_filter(finish_filters),),
            registry=registry or ModelRegistry.builtin(),
            timeout_seconds=math.inf,  # each filter has its own
        )
        await rejudging.judge()
        if charges:
            raise ConfigError(f"{charges[0]}: tuning is free of charge, so leave this filter out.")
        outcomes = [
            await anyio.to_thread.run_sync(
                add_up, reader, moment, at_threshold(rejudging.slots, answers, place)
            )
            for place in range(len(thresholds))
        ]
    return Tuning(
        filter_name=name_of(tuned[0]),
        points=tuple(
            TuningPoint(threshold=threshold, outcome=outcome)
            for threshold, outcome in zip(thresholds, outcomes, strict=True)
        ),
    )


def tune_sync(
    checkpoint: CheckpointReader | str | Path,
    filter_of: Callable[[_T], AnyFilter],
    grid: Iterable[_T],
    *,
    filters: Sequence[AnyFilter] = (),
    finish_filters: Sequence[AnyFilter] | None = None,
    registry: ModelRegistry | None = None,
    filter_timeout_seconds: float = 60.0,
) -> Tuning:
    """Do the same from code without an event loop.

    Raises:
        ConfigError: An event loop is running here: use `await tune(...)`.
        Exception: As `tune`.
    """
    refuse_running_loop("tune_sync", instead="await tune(...)")
    return anyio.run(
        partial(
            tune,
            checkpoint,
            filter_of,
            grid,
            filters=filters,
            finish_filters=finish_filters,
            registry=registry,
            filter_timeout_seconds=filter_timeout_seconds,
        )
    )


def _forgetful(value: object) -> AnyFilter:
    """Return a filter that can be asked at any time without paying.

    Raises:
        ConfigError: It costs money, or remembers accepted images.
    """
    one = free(value)
    if remembers(one):
        raise ConfigError(
            f"Filter {name_of(one)} remembers accepted images, and those differ with every "
            "threshold: try one threshold at a time, with `replay`."
        )
    return one


def _interval(rate: Estimate) -> str:
    return f"{show_percent(rate.low).removesuffix(' %')} to {show_percent(rate.high)}"


def _row(point: TuningPoint, *, is_exact: bool) -> tuple[str, ...]:
    accept, outcome = point.accept, point.outcome
    cells = (
        f"{point.threshold:g}",
        f"{outcome.after.accepted:,}",
        NONE if accept is None else show_percent(accept.value),
        NONE if accept is None else _interval(accept),
        show_cost(outcome.after),
        f"{len(point.newly_passing):,}",
        f"{len(point.newly_rejected):,}",
    )
    if is_exact:
        return cells
    return (*cells, f"{outcome.fewest.accepted:,}", f"{outcome.most.accepted:,}")
