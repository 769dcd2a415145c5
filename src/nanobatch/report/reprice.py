"""The same ledger at other prices: another month's, another model's, or those of batch mode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from nanobatch.checkpoint import Checkpoint
from nanobatch.cost import CostModel, LineKind, Outcome, Stage
from nanobatch.cost.table import show_usd
from nanobatch.models import ModelRegistry, Tier
from nanobatch.models.money import nano_of_usd, usd_of_nano
from nanobatch.models.price import utc_day
from nanobatch.report.replay import root_of
from nanobatch.report.side_by_side import as_html, as_text, cost_rows, show_cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date
    from decimal import Decimal
    from pathlib import Path

    from nanobatch.checkpoint import CheckpointReader
    from nanobatch.cost import LedgerLine
    from nanobatch.models import Model, TokenUsage
    from nanobatch.report.side_by_side import Rows

__all__ = ["Repriced", "RepricedPart", "reprice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepricedPart:
    """What the ledger, or one tier of it, cost and would cost."""

    before: CostModel
    """At the prices that were paid."""
    after: CostModel
    """At the other prices; slots, calls and accepted images are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """A ledger at other prices; it shows itself as tables."""

    whole: RepricedPart
    by_tier: Mapping[Tier, RepricedPart]
    """The slots of each tier that has any; wants belong to no tier, so `wanted` is 0 there."""
    models: Mapping[Tier, str]
    """Ids of the models that were named, by tier; a tier without one kept its own models."""
    on: date
    """The day whose prices were taken."""
    batch: bool
    """Whether they are those of the Batch API."""
    repriced_calls: int
    """Billed calls that were priced again."""
    kept_calls: int
    """Calls without usage, and calls nobody knows the outcome of: their amounts stay."""

    @property
    def before(self) -> CostModel:
        """At the prices that were paid."""
        return self.whole.before

    @property
    def after(self) -> CostModel:
        """At the other prices."""
        return self.whole.after

    def __str__(self) -> str:
        """Show both prices side by side, and say how the new one came about."""
        return as_text(self._tables(), self._sentences())

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        return as_html(self._tables(), self._sentences())

    def _tables(self) -> Iterator[Rows]:
        yield cost_rows([("before", self.before), ("after", self.after)])
        if len(self.by_tier) > 1:
            yield [
                ("Tier", "accepted", "USD per call", "now", "USD per accepted", "now"),
                *(
                    (
                        str(tier),
                        f"{part.before.accepted:,}",
                        show_usd(part.before.usd_per_call),
                        show_usd(part.after.usd_per_call),
                        show_cost(part.before),
                        show_cost(part.after),
                    )
                    for tier, part in self.by_tier.items()
                ),
            ]

    def _sentences(self) -> Iterator[str]:
        mode = " of the Batch API" if self.batch else ""
        yield f"Calls priced again: {self.repriced_calls:,}, at the prices{mode} of {self.on}."
        for tier, model_id in self.models.items():
            yield (
                f"Tier {tier} as {model_id}: image tokens are what it uses for the size, prompt "
                "and text tokens stay as they were reported."
            )
        if self.kept_calls:
            yield f"Calls without usage, whose amounts stay: {self.kept_calls:,}."


def reprice(
    checkpoint: CheckpointReader | str | Path,
    registry: ModelRegistry | None = None,
    *,
    lite: str | Model | None = None,
    quality: str | Model | None = None,
    batch: bool = False,
    on: date | None = None,
) -> Repriced:
    """Price the calls of a checkpoint again, from the tokens they used.

    Nothing is sent and nothing is changed. Slots, calls and accepted images stay, as if the other
    model drew as well as the one that was used. Judgements stay at what they cost, and calls
    without usage at their unknown amount.

    Where another model is named than the one that was called, image tokens are what that model
    takes for an image of the size, times the images of the answer; prompt and text tokens stay as
    they were reported, although another model may think more or less. A draft has the size nearest
    to its job's that the model can draw. Sizes are those of the jobs as they were last read.

    ```python
    print(reprice("runs/wallpapers", ModelRegistry.load("nanobatch.toml"), on=date(2026, 12, 1)))
    print(reprice("runs/wallpapers", quality="gemini-3-pro-image", batch=True))
    ```

    Args:
        checkpoint: A folder, or an open checkpoint.
        registry: Where the prices are; the built-in one if not given.
        lite: The model to price the Lite tier as: a role, an id, an alias or a `Model`; by
            default each call's own.
        quality: The same for the quality tier.
        batch: Whether to take the prices of the Batch API.
        on: The day whose prices count; today in UTC if not given.

    Raises:
        UnknownModelError: A model is not in the registry.
        PriceUnknownError: A model has no price on that day, or no token count for a size.
        CheckpointError: The checkpoint cannot be read.
    """
    known = registry or ModelRegistry.builtin()
    named = {
        tier: known.resolve(model)
        for tier, model in ((Tier.LITE, lite), (Tier.QUALITY, quality))
        if model is not None
    }
    day = utc_day(on)
    with Checkpoint.read(root_of(checkpoint)) as reader:
        moment = reader.moment()
        pricing = _Pricing(reader, known, named, batch=batch, on=day)

        def part(tier: Tier | None = None) -> RepricedPart:
            return RepricedPart(
                before=CostModel.from_ledger(reader.ledger_at(moment, tier=tier)),
                after=CostModel.from_ledger(pricing.lines(reader.ledger_at(moment, tier=tier))),
            )

        whole, parts = part(), {tier: part(tier) for tier in Tier}
    return Repriced(
        whole=whole,
        by_tier=MappingProxyType({tier: one for tier, one in parts.items() if one.before.slots}),
        models=MappingProxyType({tier: model.id for tier, model in named.items()}),
        on=day,
        batch=batch,
        repriced_calls=len(pricing.priced),
        kept_calls=len(pricing.kept),
    )


class _Pricing:
    """Puts other prices on the lines of one ledger."""

    def __init__(
        self,
        reader: CheckpointReader,
        registry: ModelRegistry,
        named: Mapping[Tier, Model],
        *,
        batch: bool,
        on: date,
    ) -> None:
        self.priced: set[int] = set()
        """Calls that were priced again."""
        self.kept: set[int] = set()
        """Calls that keep their amount, because nobody knows what they used."""
        self._reader = reader
        self._job = lru_cache(maxsize=1024)(reader.job)
        self._registry = registry
        self._named = named
        self._batch = batch
        self._on = on

    def lines(self, ledger: Iterable[LedgerLine]) -> Iterator[LedgerLine]:
        """Yield a ledger with the amounts of its billed calls at the other prices."""
        for line in ledger:
            if line.kind is not LineKind.CALL or line.call is None or line.slot is None:
                yield line
            elif line.outcome is Outcome.BILLED and line.usage is not None:
                self.priced.add(line.call)
                usd = self._usd(line, line.usage, slot=line.slot, call=line.call)
                yield replace(line, usd=usd)
            else:
                if line.outcome is Outcome.UNBILLED:
                    self.kept.discard(line.call)
                else:
                    self.kept.add(line.call)
                yield line

    def _usd(self, line: LedgerLine, usage: TokenUsage, *, slot: int, call: int) -> Decimal:
        model = None if line.tier is None else self._named.get(line.tier)
        if model is None:
            model = self._registry[line.model_id]
        elif model.id != line.model_id and usage.image_tokens:
            images = max(1, self._reader.images_of_call(slot=slot, call=call))
            tokens = self._tokens_per_image(line, model)
            usage = replace(usage, image_tokens=images * tokens)
        usd = model.usd(usage, batch=self._batch, on=self._on)
        return usd_of_nano(nano_of_usd(usd))  # as a run books it

    def _tokens_per_image(self, line: LedgerLine, model: Model) -> int:
        job = self._job(line.job_id)
        size = "1K" if job is None else job.size
        if job is not None and line.stage is Stage.DRAFT:
            size, _ = model.nearest(size, job.aspect_ratio)
        model.usd_per_image(size, on=self._on)  # says what is missing if it does not know the size
        return model.image_tokens[size]
