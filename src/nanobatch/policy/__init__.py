"""Decisions as small objects: how often to retry, when to stop, what to spend, how many at once."""

from nanobatch.policy.breaker import OutageBreaker
from nanobatch.policy.budget import Budget, BudgetGate
from nanobatch.policy.pace import Pace, Pacer, Spent
from nanobatch.policy.pause import Pauses
from nanobatch.policy.permits import Permits
from nanobatch.policy.retry import Retry
from nanobatch.policy.route import tier_for_slot
from nanobatch.policy.stop import StopRule

__all__ = [
    "Budget",
    "BudgetGate",
    "OutageBreaker",
    "Pace",
    "Pacer",
    "Pauses",
    "Permits",
    "Retry",
    "Spent",
    "StopRule",
    "tier_for_slot",
]
