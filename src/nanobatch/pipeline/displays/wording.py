"""A snapshot in words: labels and values for a block of lines, or one line for a log."""

from __future__ import annotations

from collections import Counter
from html import escape
from math import ceil, floor, isfinite
from typing import TYPE_CHECKING

from nanobatch.cost.table import html_table, show_percent, show_usd

if TYPE_CHECKING:
    from nanobatch.cost import Estimate
    from nanobatch.pipeline.snapshot import Snapshot, Waiting

__all__ = ["block", "html_block", "images", "log_line", "percent_done", "share_done", "short_line"]

_SECONDS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

_REASONS = {
    "pace": "the limits of Pace are reached",
    "rate_limit": "rate limit",
    "spend_limit": "spend limit",
}
"""Words for the most frequent ones; the others are readable once the underscore is gone."""


def images(now: Snapshot) -> str:
    """Return what is there of what is wanted: `142 of 300 images`."""
    more = "" if now.is_all_known else "+"
    given_up = f", {now.given_up:,} given up" if now.given_up else ""
    return f"{now.delivered:,} of {now.wanted:,}{more} images{given_up}"


def share_done(now: Snapshot) -> float | None:
    """Return delivered of wanted, 0 to 1; `None` while it is not known how many are wanted."""
    if not now.is_all_known:
        return None
    return now.delivered / now.wanted if now.wanted else 1.0


def percent_done(now: Snapshot) -> str:
    """Return the same in percent, rounded down; empty while it is not known."""
    share = share_done(now)
    return "" if share is None else f"{floor(100 * share)} %"


def block(now: Snapshot) -> list[tuple[str, str]]:
    """Return what stands under the bar, as labels and values."""
    rows = [
        ("accept rate", _rate(now.accept)),
        ("per image", _cost(now.usd_per_accepted)),
        ("spend", _spend(now)),
    ]
    if not now.is_over:
        rows.append(("requests", _requests(now)))
    if now.waiting and not now.is_over:
        rows.append(("waiting", "; ".join(map(_wait, now.waiting))))
    if now.batch_jobs:
        rows.append(("batch jobs", _batch_jobs(now)))
    rows.append(("time", _time(now)))
    return rows


def html_block(now: Snapshot) -> str:
    """Return the bar and the lines under it as HTML, in the style of the page."""
    share = share_done(now)
    done = "" if share is None else f' value="{share:.4f}"'
    bar = f'<progress max="1"{done} style="width: 16em; vertical-align: middle"></progress>'
    return f"<p><b>{escape(images(now))}</b> {bar} {percent_done(now)}</p>{html_table(block(now))}"


def log_line(now: Snapshot) -> str:
    """Return all of it in one line, as it may stand in a log."""
    percent = percent_done(now)
    parts = [
        f"{images(now)} ({percent})" if percent else images(now),
        f"accept rate {_rate(now.accept)}",
        f"per image {_cost(now.usd_per_accepted)}",
        f"spend {_spend(now)}",
    ]
    if not now.is_over:
        parts.append(_requests(now))
        parts += [f"waiting {_wait(one)}" for one in now.waiting]
    if now.batch_jobs:
        parts.append(f"batch jobs {_batch_jobs(now)}")
    parts.append(_time(now))
    return "; ".join(parts)


def short_line(now: Snapshot, *, width: int) -> str:
    """Return as much of it as fits into a line of so many characters, the essential first."""
    cost = now.usd_per_accepted.value
    wanted = f"{now.wanted:,}{'' if now.is_all_known else '+'}"
    time = _duration(now.seconds)
    if now.ended is not None:
        time = f"{'ended' if now.is_over else 'ending'}: {now.ended}"
    elif now.seconds_left is not None:
        time = f"{_duration(now.seconds_left)} left"
    candidates = [
        f"{now.delivered:,}/{wanted} {percent_done(now)}".rstrip(),
        f"{_amount(now)} USD",
        time,
        f"waiting {_wait(now.waiting[0])}" if now.waiting and not now.is_over else "",
        f"batch jobs {_batch_jobs(now)}" if now.batch_jobs else "",
        f"{show_usd(cost)} each" if cost.is_finite() else "",
        f"{show_percent(now.accept.value)} accepted" if now.accept.n else "",
        f"{now.in_flight} in flight" if not now.is_over else "",
    ]
    line = ""
    for part in filter(None, candidates):
        longer = f"{line} | {part}" if line else part
        if len(longer) <= width:
            line = longer
    return line


def _batch_jobs(now: Snapshot) -> str:
    """Return how many are in which state: `2 running, 1 pending, 412 slots wait`."""
    states = Counter(one.state for one in now.batch_jobs)
    slots = sum(one.slots for one in now.batch_jobs)
    jobs = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
    return f"{jobs}, {slots:,} slot{' waits' if slots == 1 else 's wait'}"


def _time(now: Snapshot) -> str:
    """Return how long it has taken, and how long it may still take."""
    took = _duration(now.seconds)
    if now.is_over:
        return f"{took}, ended: {now.ended}"
    if now.ended is not None:
        return f"{took}, ending: {now.ended}, what is in flight is saved first"
    rate = now.images_per_minute
    if rate is None:
        return took
    speed = f"{rate:.3g} images/min"
    if now.seconds_left is None:
        return f"{took}, {speed}"
    return f"{took}, about {_duration(now.seconds_left)} left at {speed}"


def _rate(rate: Estimate) -> str:
    if not rate.n:
        return "nothing judged yet"
    low = show_percent(rate.low).removesuffix(" %")
    slots = f"{rate.n:,} slot{'' if rate.n == 1 else 's'}"
    return f"{show_percent(rate.value)} ({low} to {show_percent(rate.high)}, {slots})"


def _cost(cost: Estimate) -> str:
    if not cost.value.is_finite():
        return "no image accepted yet"
    bounds = f"{show_usd(cost.low)} or more"
    if cost.high.is_finite():
        bounds = f"{show_usd(cost.low)} to {show_usd(cost.high)}"
    return f"{show_usd(cost.value)} USD ({bounds})"


def _amount(now: Snapshot) -> str:
    spent = show_usd(now.spend.confirmed_usd)
    return spent if now.budget_usd is None else f"{spent} of {show_usd(now.budget_usd)}"


def _spend(now: Snapshot) -> str:
    said = f"{_amount(now)} USD" + (", no cap" if now.budget_usd is None else "")
    if now.spend.unknown_usd:
        said += f", up to {show_usd(now.spend.unknown_usd)} unknown"
    if now.in_flight_usd and not now.is_over:
        said += f", up to {show_usd(now.in_flight_usd)} in flight"
    return said


def _requests(now: Snapshot) -> str:
    said = f"{now.in_flight} of {now.concurrency} in flight"
    if now.concurrency < now.max_concurrency:
        said += f" (lowered from {now.max_concurrency})"
    return said


def _wait(one: Waiting) -> str:
    reason = _REASONS.get(one.reason, one.reason.replace("_", " "))
    model = f" on {one.model_id}" if one.model_id else ""
    if one.seconds_left is None:
        return f"for calls in flight: {reason}{model}"
    return f"{_duration(ceil(one.seconds_left))}: {reason}{model}"


def _duration(seconds: float) -> str:
    """Return a time with its two largest units, `3 min 20 s`."""
    if not isfinite(seconds):
        return "for ever"
    left = round(seconds)
    parts: list[str] = []
    for size, unit in _SECONDS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
