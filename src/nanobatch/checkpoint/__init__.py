"""Nothing paid for is lost: a ledger and image files that survive any interruption."""

from nanobatch.checkpoint.batches import BatchJobRecord
from nanobatch.checkpoint.checkpoint import Checkpoint
from nanobatch.checkpoint.judged import FilterFigures
from nanobatch.checkpoint.reading import CheckpointReader
from nanobatch.checkpoint.records import (
    CandidateRecord,
    CandidateState,
    Failure,
    JobResult,
    JobStatus,
    KeptCandidate,
    Moment,
    RepairReport,
    SlotState,
    Spend,
    StageFigures,
    VerifyReport,
)
from nanobatch.checkpoint.store import Store
from nanobatch.checkpoint.take import InHand, JobEntry, Leftover, TakenJob, take

__all__ = [
    "BatchJobRecord",
    "CandidateRecord",
    "CandidateState",
    "Checkpoint",
    "CheckpointReader",
    "Failure",
    "FilterFigures",
    "InHand",
    "JobEntry",
    "JobResult",
    "JobStatus",
    "KeptCandidate",
    "Leftover",
    "Moment",
    "RepairReport",
    "SlotState",
    "Spend",
    "StageFigures",
    "Store",
    "TakenJob",
    "VerifyReport",
    "take",
]
