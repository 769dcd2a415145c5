"""The provider's batch service: requests in a file, answers in another, at half price."""

from nanobatch.backend.batch.lines import lines_of
from nanobatch.backend.batch.protocol import BatchBackend, BatchJob, BatchLine, BatchState

__all__ = ["BatchBackend", "BatchJob", "BatchLine", "BatchState", "lines_of"]
