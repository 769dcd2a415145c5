"""What happened, for people: what a finished batch would have come to under other rules."""

from nanobatch.report.judged import ReplayedCandidate, Unjudged
from nanobatch.report.outcome import Replay, ReplayPart
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
]
