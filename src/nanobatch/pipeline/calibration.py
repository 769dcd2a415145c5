"""A calibration: what the first images of a batch have measured, by tier and tag."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from nanobatch.cost import compare
from nanobatch.cost.table import html_table, html_text, text_table
from nanobatch.models import MeasuredRates, Tier
from nanobatch.pipeline.learning import era_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanobatch.checkpoint import CheckpointReader
    from nanobatch.cost import Comparison, CostModel, Estimate
    from nanobatch.models import ModelRegistry
    from nanobatch.pipeline.plan import Plan
    from nanobatch.pipeline.result import RunResult

__all__ = ["Calibration", "calibration_of"]

_HEADER = ("", "accept rate", "regeneration rate", "USD per accepted image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Rates with their intervals, measured on slots that count towards the jobs.

    ```python
    calibration = await pipeline.calibrate(jobs, images=50)
    print(calibration)
    registry = registry.save_rates(calibration.rates, "nanobatch.toml")
    ```
    """

    result: RunResult
    """How the run that measured ended; its images are kept, and running the jobs goes on."""

    tiers: Mapping[Tier, CostModel]
    """What the slots of each tier came to, over the checkpoint's whole life."""

    tags: Mapping[tuple[Tier, str], CostModel]
    """The same by tier and tag of the jobs."""

    rates: Mapping[str, MeasuredRates]
    """The rates for `ModelRegistry.save_rates`, by a role of the tier's model or else by its id.

    Their `accept` is the share of slots that pass, drafts included, which is what forecasts start
    from: of jobs with `best_of` = 2, twice as many pass as are accepted. They are of every tier of
    which something passed, and only of slots under today's model and filters.
    """

    @property
    def comparison(self) -> Comparison | None:
        """Which tier is cheaper and how sure that is; `None` if only one was drawn on."""
        if not {Tier.LITE, Tier.QUALITY} <= self.tiers.keys():
            return None
        return compare(self.tiers[Tier.LITE], self.tiers[Tier.QUALITY])

    def __str__(self) -> str:
        """Return an aligned table of the rates, and what to do if both tiers were drawn on."""
        table = text_table([_HEADER, *self._rows()], words=1)
        return "\n".join([table, *self._sentences()])

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        paragraphs = "".join(map(html_text, self._sentences()))
        return html_table(self._rows(), header=_HEADER) + paragraphs

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for tier, cost in self.tiers.items():
            rows.append((str(tier), *_figures(cost)))
            tags = {tag: model for (of, tag), model in self.tags.items() if of is tier and tag}
            rows += [(f"  {tag}", *_figures(model)) for tag, model in tags.items()]
        return rows

    def _sentences(self) -> list[str]:
        comparison = self.comparison
        return [] if comparison is None else [comparison.sentence]


def _figures(cost: CostModel) -> tuple[str, str, str]:
    return _shown(cost.accept), _shown(cost.regeneration), _shown(cost.estimate())


def _shown(estimate: Estimate | None) -> str:
    return "-" if estimate is None else str(estimate).removesuffix(" USD")


def calibration_of(
    result: RunResult, checkpoint: CheckpointReader, plan: Plan, registry: ModelRegistry
) -> Calibration:
    """Return what a checkpoint has measured."""
    every = [(tier, tag) for tier in plan.models for tag in checkpoint.tags()]
    tags = {key: checkpoint.cost_model(tier=key[0], tag=key[1]) for key in every}
    tiers = {tier: checkpoint.cost_model(tier=tier) for tier in plan.models}
    return Calibration(
        result=result,
        tiers={tier: cost for tier, cost in tiers.items() if cost.slots},
        tags={key: cost for key, cost in tags.items() if cost.slots},
        rates=_rates(checkpoint, plan, registry),
    )


def _rates(
    checkpoint: CheckpointReader, plan: Plan, registry: ModelRegistry
) -> dict[str, MeasuredRates]:
    """Return how many slots of each tier passed, over its stages."""
    stages = checkpoint.stages(era_of(plan, checkpoint))
    rates: dict[str, MeasuredRates] = {}
    for tier, model in plan.models.items():
        figures = [one for (_, of), one in stages.items() if of is tier]
        slots, passed = (sum(one.slots for one in figures), sum(one.passed for one in figures))
        if passed:
            rates[registry.name_of(model)] = MeasuredRates(
                accept=Decimal(passed) / slots,
                regenerate=Decimal(sum(one.calls for one in figures)) / slots - 1,
                slots=slots,
                measured_on=datetime.now(UTC).date(),
            )
    return rates
