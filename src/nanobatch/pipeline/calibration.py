"""A calibration: what the first images of a batch have measured, by tier and tag."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nanobatch.cost import compare
from nanobatch.cost.table import html_table, html_text, text_table
from nanobatch.models import MeasuredRates, Tier

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

    names: Mapping[Tier, str]
    """Under which name the rates of a tier are saved: a role of its model, or its id."""

    @property
    def rates(self) -> dict[str, MeasuredRates]:
        """The rates for `ModelRegistry.save_rates`, of every tier that has an accepted image."""
        today = datetime.now(UTC).date()
        return {
            self.names[tier]: MeasuredRates(
                accept=cost.accept_rate,
                regenerate=cost.regeneration_rate,
                slots=cost.slots,
                measured_on=today,
            )
            for tier, cost in self.tiers.items()
            if cost.slots and cost.accepted
        }

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
        names={tier: registry.name_of(model) for tier, model in plan.models.items()},
    )
