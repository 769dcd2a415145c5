"""What can be put right in a checkpoint that the disk, or somebody, has damaged."""

from nanobatch.checkpoint.repair.order import repair

__all__ = ["repair"]
