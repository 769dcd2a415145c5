"""The Batch API of the simulator: how fast its jobs go, and what goes wrong with them."""

from nanobatch.simulator.batch.batches import Batches
from nanobatch.simulator.batch.job import Job
from nanobatch.simulator.batch.operation import Lost, Operation
from nanobatch.simulator.batch.schedule import Polls, Seconds
from nanobatch.simulator.batch.settings import End, Settings

__all__ = ["Batches", "End", "Job", "Lost", "Operation", "Polls", "Seconds", "Settings"]
