"""Which models exist, what they cost and when they retire, with a dated price sheet."""

from nanobatch.models.model import Model, PricedRequest
from nanobatch.models.price import PriceRow
from nanobatch.models.rates import MeasuredRates
from nanobatch.models.registry import ModelRegistry
from nanobatch.models.tier import Tier
from nanobatch.models.usage import TokenUsage

__all__ = [
    "MeasuredRates",
    "Model",
    "ModelRegistry",
    "PriceRow",
    "PricedRequest",
    "Tier",
    "TokenUsage",
]
