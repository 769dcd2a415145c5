"""What a filter is, and the filters that come with the library."""

from nanobatch.filters.borders import NoBorders
from nanobatch.filters.catalogue import available, default, load
from nanobatch.filters.combined import AllOf, AnyOf, Not, OnlyFor, Score
from nanobatch.filters.exposure import Exposure
from nanobatch.filters.file import Decodes, MinBytes
from nanobatch.filters.frame import AspectRatio, MinSize
from nanobatch.filters.gemini_judge import GeminiJudge
from nanobatch.filters.isolated import Isolated
from nanobatch.filters.near_duplicate import NearDuplicate
from nanobatch.filters.picture import Alpha, NotBlank
from nanobatch.filters.protocol import (
    AnyFilter,
    AskModel,
    AsksModel,
    CombinesFilters,
    ComparesAgain,
    Filter,
    PaidFilter,
    RemembersAccepted,
)
from nanobatch.filters.sharpness import Sharpness
from nanobatch.filters.tiled import NotTiled

__all__ = [
    "AllOf",
    "Alpha",
    "AnyFilter",
    "AnyOf",
    "AskModel",
    "AsksModel",
    "AspectRatio",
    "CombinesFilters",
    "ComparesAgain",
    "Decodes",
    "Exposure",
    "Filter",
    "GeminiJudge",
    "Isolated",
    "MinBytes",
    "MinSize",
    "NearDuplicate",
    "NoBorders",
    "Not",
    "NotBlank",
    "NotTiled",
    "OnlyFor",
    "PaidFilter",
    "RemembersAccepted",
    "Score",
    "Sharpness",
    "available",
    "default",
    "load",
]
