"""One call to an image model: the protocol, the Gemini adapter, the classes of failure."""

from nanobatch.backend.batch import BatchBackend, BatchJob, BatchLine, BatchState, lines_of
from nanobatch.backend.gemini import Gemini
from nanobatch.backend.protocol import (
    ImageBackend,
    ImageRequest,
    JsonBackend,
    JsonRequest,
    Reply,
    ThrottledBackend,
)

__all__ = [
    "BatchBackend",
    "BatchJob",
    "BatchLine",
    "BatchState",
    "Gemini",
    "ImageBackend",
    "ImageRequest",
    "JsonBackend",
    "JsonRequest",
    "Reply",
    "ThrottledBackend",
    "lines_of",
]
