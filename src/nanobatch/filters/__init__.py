"""What a filter is, and the filters that come with the library."""

from nanobatch.filters.catalogue import available, default, load
from nanobatch.filters.combined import AllOf, AnyOf, Not, OnlyFor, Score
from nanobatch.filters.file import Decodes, MinBytes
from nanobatch.filters.frame import AspectRatio, MinSize
from nanobatch.filters.gemini_judge import GeminiJudge
from nanobatch.filters.isolated import Isolated
from nanobatch.filters.near_duplicate import NearDuplicate
from nanobatch.filters.picture import NotBlank
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

__all__ = [
    "AllOf",
    "AnyFilter",
    "AnyOf",
    "AskModel",
    "AsksModel",
    "AspectRatio",
    "CombinesFilters",
    "ComparesAgain",
    "Decodes",
    "Filter",
    "GeminiJudge",
    "Isolated",
    "MinBytes",
    "MinSize",
    "NearDuplicate",
    "Not",
    "NotBlank",
    "OnlyFor",
    "PaidFilter",
    "RemembersAccepted",
    "Score",
    "available",
    "default",
    "load",
]
