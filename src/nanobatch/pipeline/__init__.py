"""The path of one image from its job to the disk, and the workers that walk it."""

from nanobatch.pipeline.calibration import Calibration
from nanobatch.pipeline.control import Ended
from nanobatch.pipeline.events import (
    BatchJobChanged,
    CallSettled,
    CallsPaused,
    CandidatePassed,
    CandidateRejected,
    Event,
    FailureRecorded,
    ImageAccepted,
    JobEnded,
    JobStarted,
    RunEnded,
    RunEnding,
)
from nanobatch.pipeline.pipeline import TwoTierPipeline
from nanobatch.pipeline.result import RunResult
from nanobatch.pipeline.snapshot import Display, Snapshot, Waiting

__all__ = [
    "BatchJobChanged",
    "Calibration",
    "CallSettled",
    "CallsPaused",
    "CandidatePassed",
    "CandidateRejected",
    "Display",
    "Ended",
    "Event",
    "FailureRecorded",
    "ImageAccepted",
    "JobEnded",
    "JobStarted",
    "RunEnded",
    "RunEnding",
    "RunResult",
    "Snapshot",
    "TwoTierPipeline",
    "Waiting",
]
