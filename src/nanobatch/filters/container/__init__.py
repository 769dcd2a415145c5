"""The check that always runs first: are these bytes one complete PNG, JPEG or WebP image?"""

from nanobatch.filters.container.check import (
    Header,
    fault_in,
    fault_of,
    is_checked,
    remember_fault,
    sniff,
)

__all__ = ["Header", "fault_in", "fault_of", "is_checked", "remember_fault", "sniff"]
