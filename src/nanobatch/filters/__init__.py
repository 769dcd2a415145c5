"""What a filter is, and the filters that come with the library."""

from nanobatch.filters.borders import NoBorders
from nanobatch.filters.catalogue import available, default, load
from nanobatch.filters.exposure import Exposure
from nanobatch.filters.file import Decodes, MinBytes
from nanobatch.filters.frame import AspectRatio, MinSize
from nanobatch.filters.isolated import Isolated
from nanobatch.filters.picture import Alpha, NotBlank
from nanobatch.filters.protocol import AnyFilter, Filter, PaidFilter, RemembersAccepted
from nanobatch.filters.sharpness import Sharpness
from nanobatch.filters.tiled import NotTiled

__all__ = [
    "Alpha",
    "AnyFilter",
    "AspectRatio",
    "Decodes",
    "Exposure",
    "Filter",
    "Isolated",
    "MinBytes",
    "MinSize",
    "NoBorders",
    "NotBlank",
    "NotTiled",
    "PaidFilter",
    "RemembersAccepted",
    "Sharpness",
    "available",
    "default",
    "load",
]
