"""What happened, for people: a page to look at, and what would have been under other rules."""

from nanobatch.report.judged import ReplayedCandidate, Unjudged
from nanobatch.report.outcome import Replay, ReplayPart
from nanobatch.report.page import write_html
from nanobatch.report.replay import replay, replay_sync
from nanobatch.report.reprice import Repriced, RepricedPart, reprice
from nanobatch.report.tuning import Tuning, TuningPoint, tune, tune_sync

__all__ = [
    "Replay",
    "ReplayPart",
    "ReplayedCandidate",
    "Repriced",
    "RepricedPart",
    "Tuning",
    "TuningPoint",
    "Unjudged",
    "replay",
    "replay_sync",
    "reprice",
    "tune",
    "tune_sync",
    "write_html",
]
