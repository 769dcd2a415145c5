"""What a batch came to: how much of it is there, what it cost and why, and what did not work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanobatch.checkpoint import JobStatus
from nanobatch.cost import Stage, compare
from nanobatch.demo.text import counted, percent, sentence, table, usd
from nanobatch.models import Tier
from nanobatch.pipeline import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from nanobatch.checkpoint import FilterFigures
    from nanobatch.cost import CostModel, Estimate
    from nanobatch.demo.figures import Standing

__all__ = ["bill_check", "summary"]

LITE = (Tier.LITE, Stage.CANDIDATE)
QUALITY = (Tier.QUALITY, Stage.CANDIDATE)
_STEPS = {
    LITE: "Lite as it is",
    QUALITY: "quality as it is",
    (Tier.LITE, Stage.DRAFT): "Lite drafts",
    (Tier.QUALITY, Stage.FINISH): "quality finishes",
}


def summary(standing: Standing, *, ended: Ended) -> str:
    """Return all tables, at most 80 columns wide."""
    return "\n\n".join(_parts(standing, ended))


def bill_check(*, billed_usd: Decimal, before: Standing, after: Standing) -> str:
    """Compare the simulator's own bill of this run with what the ledger gained."""
    gained = after.spend.confirmed_usd - before.spend.confirmed_usd
    unknown = after.spend.unknown_usd - before.spend.unknown_usd
    bill = f"The simulator's own bill for this run is USD {usd(billed_usd)}"
    if billed_usd == gained:
        return sentence(f"{bill}; the ledger says the same, to the last nano-dollar.")
    if gained < billed_usd <= gained + unknown:
        return sentence(
            f"{bill}; the ledger has USD {usd(gained)} confirmed and at most {usd(unknown)} "
            "unknown, for calls that were cut off."
        )
    return sentence(f"{bill}, but the ledger says USD {usd(gained)}: please report this.")


def _parts(standing: Standing, ended: Ended) -> Iterator[str]:
    yield _result(standing)
    if standing.calls:
        yield _steps(standing)
        yield _one_tier(standing)
    if any(one.asked for one in standing.filters):
        yield _filters(standing.filters)
    if standing.failures:
        rows = [(kind, str(times)) for kind, times in standing.failures.most_common()]
        yield table(("Failures, all in the ledger", "times"), rows)
    yield from _undone(standing, ended)


def _result(standing: Standing) -> str:
    cost, spend = standing.cost, standing.spend
    unknown = (
        f"at most USD {usd(spend.unknown_usd)} unknown" if spend.unknown_usd else "none unknown"
    )
    rows = [
        ("wanted", f"{standing.wanted}", "images"),
        ("delivered", f"{standing.delivered}", f"fill rate {percent(standing.fill_rate)}"),
        ("calls", f"{standing.calls}", f"regeneration rate {_rate(cost.regeneration)}"),
        ("slots", f"{cost.slots}", f"accept rate {_rate(cost.accept)}"),
        ("spend, USD", usd(spend.confirmed_usd), f"confirmed; {unknown}"),
    ]
    if cost.usd_per_accepted is not None:
        rows.append(("USD per accepted", usd(cost.usd_per_accepted), _formula(cost)))
    return table(("Result", "", ""), rows, left=frozenset({0, 2}))


def _formula(cost: CostModel) -> str:
    return (
        f"= {usd(cost.usd_per_call)} x (1 + {percent(cost.regeneration_rate)})"
        f" / {percent(cost.accept_rate)}"
    )


def _steps(standing: Standing) -> str:
    rows = [
        _step_row(name, standing.by_step[step])
        for step, name in _STEPS.items()
        if step in standing.by_step
    ]
    rows.append(_step_row("all", standing.cost))
    header = ("Measured (95 %)", "slots", "regen.", "accept", "USD/accepted")
    return table(header, rows)


def _step_row(name: str, cost: CostModel) -> tuple[str, ...]:
    # A draft that is finished is not accepted itself: its rate shows in the finishes.
    accepted, each = ("-", "-")
    estimate = cost.estimate()
    if cost.accepted and estimate is not None:
        accepted = _rate(cost.accept)
        each = f"{usd(estimate.value)} ({usd(estimate.low)}-{usd(estimate.high)})"
    return (name, str(cost.slots), _rate(cost.regeneration), accepted, each)


def _rate(estimate: Estimate | None) -> str:
    """Return a rate with its interval in whole percent, `70.0 % (56-81)`."""
    if estimate is None:
        return "-"
    return f"{percent(estimate.value)} ({100 * estimate.low:.0f}-{100 * estimate.high:.0f})"


def _one_tier(standing: Standing) -> str:
    images = standing.delivered
    rows = [("as it was run", usd(standing.spend.confirmed_usd), "")]
    for name, step in (("all on Lite", LITE), ("all on quality", QUALITY)):
        cost = standing.by_step.get(step)
        if cost is None or not cost.accepted:
            rows.append((name, "n/a", "not measured"))
        else:
            each = usd(cost.usd_per_accepted)
            rows.append((name, usd(cost.total_usd(images)), f"= {each} x {images}"))
    header = (f"The same {counted(images, 'image')}", "USD", "")
    return f"{table(header, rows, left=frozenset({0, 2}))}\n{_dividing_line(standing)}".rstrip()


def _filters(filters: Sequence[FilterFigures]) -> str:
    rows = [
        (
            one.name,
            f"{one.asked:,}",
            f"{one.rejected:,}",
            percent(one.reject_share) if one.asked else "-",
            usd(one.usd + one.unknown_usd),
        )
        for one in filters
    ]
    return table(("Filters, as they are asked", "judged", "rejected", "share", "USD"), rows)


def _dividing_line(standing: Standing) -> str:
    lite, quality = standing.by_step.get(LITE), standing.by_step.get(QUALITY)
    if lite is None or quality is None or not (lite.accepted and quality.accepted):
        return ""
    rate = compare(lite, quality).break_even_accept_rate
    return sentence(
        f"Lite is the cheaper tier while more than {percent(rate or 0)} of its candidates are "
        "accepted. The two tiers met different prompts: quality drew the heroes and what Lite had "
        "failed at. At 2K there is no Lite."
    )


def _undone(standing: Standing, ended: Ended) -> Iterator[str]:
    # After an early end most prompts are just not done yet; the number says it all.
    waiting = [one for one in standing.undone if one.status is JobStatus.PENDING]
    shown = [one for one in standing.undone if ended is Ended.COMPLETE or one not in waiting]
    if shown:
        rows = [
            (one.id, one.status, f"{one.slots}", usd(one.spend.worst_case_usd), one.reason)
            for one in shown
        ]
        header = ("Prompts not done", "status", "slots", "USD", "why")
        yield table(header, rows, left=frozenset({0, 1, 4}))
    if ended is not Ended.COMPLETE and standing.missing:
        left = sum(job.want for job in standing.missing)
        prompts = counted(len(standing.missing), "prompt")
        yield f"Not done yet: {counted(left, 'image')} of {prompts}."
