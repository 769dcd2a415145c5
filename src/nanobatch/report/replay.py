"""Replaying a batch: the same images and the same money under other filters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.checkpoint import Checkpoint, CheckpointReader
from nanobatch.cost import CostModel, LedgerLine, LedgerTotals, LineKind, Stage
from nanobatch.errors import ConfigError
from nanobatch.filters.protocol import checked, name_of, worst_case_usd
from nanobatch.models import ModelRegistry, Tier
from nanobatch.pipeline.sync import refuse_running_loop
from nanobatch.report.outcome import Replay, ReplayPart
from nanobatch.report.rejudge import Rejudging
from nanobatch.report.rules import (
    accepted_slots,
    draft_stands,
    fails_if_unjudged,
    keeps_verdict,
    passes_if_unjudged,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nanobatch.checkpoint import Moment
    from nanobatch.filters import AnyFilter
    from nanobatch.report.judged import ReplayedCandidate
    from nanobatch.report.rules import SlotImages

__all__ = ["add_up", "free", "replay", "replay_sync", "root_of"]


async def replay(
    checkpoint: CheckpointReader | str | Path,
    *,
    filters: Sequence[AnyFilter],
    finish_filters: Sequence[AnyFilter] | None = None,
    registry: ModelRegistry | None = None,
    filter_timeout_seconds: float = 60.0,
) -> Replay:
    """Judge the images of a checkpoint again and say what would have been different.

    Nothing is sent, nothing is spent, and the checkpoint is not changed; a run may write to it
    meanwhile. The money stays what it was, so cost per accepted image is that spend over the images
    accepted now, exactly. It answers for the images that were bought, not for another run: that
    would have stopped sooner or gone on longer. What is accepted beyond a job's want is counted as
    accepted, because it shows what the slots yield, and never as delivered.

    - Only images whose files are there can be judged: accepted and waiting ones, and rejected ones
      of a run with `keep_rejected="all"`. All others keep the verdict they had. With filters that
      can only reject more than those of the run that is exact; otherwise see `fewest` and `most`.
    - A slot yields at most one image. A further image of its answer is looked at only if all before
      it are rejected, as in a run: at once, not when their group is decided.
    - A finish counts only while its draft passes; what it cost stays in the spend. A draft that
      passes only now adds nothing, because no finish of it exists. A draft takes the place of its
      failed finish only where it did so in the run.
    - With `best_of` = n, every n passing images of a job, in the order of their arrival, yield one;
      where the same images pass with the same scores, the choice of the run stands.
    - What passed in the run and was not needed takes no part, unless its job now lacks images.
    - Filters that remember are asked in the order of acceptance and told of what is accepted;
      what was rejected before comes last. What had to wait is put before them once more, as in a
      run. Hand over fresh ones.

    ```python
    outcome = await replay("runs/wallpapers", filters=[filters.MinBytes(60_000)])
    print(outcome)
    ```

    Args:
        checkpoint: A folder, or an open checkpoint.
        filters: What a candidate or a draft has to pass; images are judged by the job as it was
            last read.
        finish_filters: What a finished image has to pass; the same as `filters` if not given.
        registry: Knows in which shapes the models of drafts draw; the built-in one if not given.
        filter_timeout_seconds: Deadline of one filter on one image, > 0. An image whose filter
            raises or misses it is not judged.

    Raises:
        ConfigError: A filter costs money, or an argument cannot be meant.
        FilterError: Filters failed ten times in a row.
        CheckpointError: The checkpoint cannot be read.
    """
    chosen = tuple(map(free, filters))
    finish = chosen if finish_filters is None else tuple(map(free, finish_filters))
    if not filter_timeout_seconds > 0:
        raise ConfigError(f"filter_timeout_seconds={filter_timeout_seconds}: it must be above 0.")
    with Checkpoint.read(root_of(checkpoint)) as reader:  # ours alone, whatever its owner does
        moment = reader.moment()
        rejudging = Rejudging(
            reader,
            moment,
            filters=chosen,
            finish_filters=finish,
            registry=registry or ModelRegistry.builtin(),
            timeout_seconds=filter_timeout_seconds,
        )
        await rejudging.judge()
        return await anyio.to_thread.run_sync(add_up, reader, moment, rejudging.slots)


def replay_sync(
    checkpoint: CheckpointReader | str | Path,
    *,
    filters: Sequence[AnyFilter],
    finish_filters: Sequence[AnyFilter] | None = None,
    registry: ModelRegistry | None = None,
    filter_timeout_seconds: float = 60.0,
) -> Replay:
    """Do the same from code without an event loop.

    Raises:
        ConfigError: An event loop is running here: use `await replay(...)`.
        Exception: As `replay`.
    """
    refuse_running_loop("replay_sync", instead="await replay(...)")
    return anyio.run(
        partial(
            replay,
            checkpoint,
            filters=filters,
            finish_filters=finish_filters,
            registry=registry,
            filter_timeout_seconds=filter_timeout_seconds,
        )
    )


def root_of(checkpoint: CheckpointReader | str | Path) -> Path:
    """Return the folder of a checkpoint."""
    return checkpoint.root if isinstance(checkpoint, CheckpointReader) else Path(checkpoint)


def free(value: object) -> AnyFilter:
    """Return a filter that can be asked without paying."""
    one = checked(value)
    usd = worst_case_usd(one)
    if usd:
        raise ConfigError(
            f"Filter {name_of(one)} costs up to {usd} USD an image: a replay is free of charge, so "
            "leave this filter out. Its verdicts in the run stay in the checkpoint."
        )
    return one


@dataclass(frozen=True, slots=True, kw_only=True)
class _Accepted:
    """The slots that yield an image, under each assumption on what could not be judged."""

    after: set[int]
    fewest: set[int]
    most: set[int]


def add_up(reader: CheckpointReader, moment: Moment, slots: Mapping[int, SlotImages]) -> Replay:
    """Turn verdicts into figures."""
    accepted = _Accepted(
        after=accepted_slots(slots, keeps_verdict),
        fewest=accepted_slots(slots, fails_if_unjudged),
        most=accepted_slots(slots, passes_if_unjudged),
    )
    images = sorted(
        (image for slot in slots.values() for image in slot.images), key=lambda one: one.number
    )
    of_tier: dict[Tier, list[ReplayedCandidate]] = {}
    of_tag: dict[str, list[ReplayedCandidate]] = {tag: [] for tag in reader.tags()}
    for image in images:
        of_tier.setdefault(image.tier, []).append(image)
        of_tag.setdefault(image.tag, []).append(image)
    add = partial(_part, reader, moment, slots, accepted)
    undone, undone_usd = _undone_finishes(reader, moment, slots)
    return Replay(
        whole=add(images),
        by_tier=MappingProxyType(
            {tier: add(of_tier[tier], tier=tier) for tier in Tier if tier in of_tier}
        ),
        by_tag=MappingProxyType({tag: add(of_tag[tag], tag=tag) for tag in sorted(of_tag)}),
        candidates=tuple(images),
        rejections_before=_count(one.filter_before for one in images),
        rejections_after=_count(one.filter_after for one in images),
        undone_finishes=undone,
        undone_finish_usd=undone_usd,
        unfinished_drafts=sum(one.is_newly_passing and one.stage is Stage.DRAFT for one in images),
    )


def _part(
    reader: CheckpointReader,
    moment: Moment,
    slots: Mapping[int, SlotImages],
    accepted: _Accepted,
    images: Sequence[ReplayedCandidate],
    *,
    tier: Tier | None = None,
    tag: str | None = None,
) -> ReplayPart:
    """Return the figures of all slots, or of one tier or one tag."""

    def model(numbers: set[int]) -> CostModel:
        there = [
            slots[number]
            for number in sorted(numbers)
            if tier in (None, slots[number].tier) and tag in (None, slots[number].tag)
        ]
        lines = reader.ledger_at(moment, tier=tier, tag=tag)
        return CostModel.from_ledger(_with_accepted(lines, there))

    after = model(accepted.after)
    return ReplayPart(
        before=CostModel.from_ledger(reader.ledger_at(moment, tier=tier, tag=tag)),
        after=after,
        fewest=after if accepted.fewest == accepted.after else model(accepted.fewest),
        most=after if accepted.most == accepted.after else model(accepted.most),
        judged=sum(one.passes_after is not None and one.unjudged is None for one in images),
        unjudged=sum(one.unjudged is not None for one in images),
        newly_passing=sum(one.is_newly_passing for one in images),
        newly_rejected=sum(one.is_newly_rejected for one in images),
    )


def _with_accepted(
    lines: Iterable[LedgerLine], accepted: Sequence[SlotImages]
) -> Iterator[LedgerLine]:
    """Yield a ledger in which exactly these slots have yielded an image."""
    last: LedgerLine | None = None
    for line in lines:
        last = line
        if line.kind not in (LineKind.ACCEPTED, LineKind.LOST):
            yield line
    if last is not None:
        for number, slot in enumerate(accepted, last.number + 1):
            yield LedgerLine(
                number=number,
                at=last.at,
                kind=LineKind.ACCEPTED,
                job_id=slot.job_id,
                tag=slot.tag,
                slot=slot.number,
                stage=slot.stage,
                tier=slot.tier,
                model_id=slot.model_id,
            )


def _undone_finishes(
    reader: CheckpointReader, moment: Moment, slots: Mapping[int, SlotImages]
) -> tuple[int, Decimal]:
    """Return how many finishes were made of drafts that fail now, and their confirmed USD."""
    undone = {
        number
        for number, parent in reader.finishes()
        if not draft_stands(slots, number, parent, keeps_verdict)
    }
    if not undone:
        return 0, Decimal(0)
    totals = LedgerTotals.of(line for line in reader.ledger_at(moment) if line.slot in undone)
    return totals.slots, totals.spend_usd


def _count(filter_names: Iterable[str]) -> Mapping[str, int]:
    return MappingProxyType(dict(Counter(filter(None, filter_names)).most_common()))
