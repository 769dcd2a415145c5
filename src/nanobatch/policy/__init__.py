"""Decisions as small objects: how often to retry, when to stop, what to spend, how many at once."""

from nanobatch.policy.batch import BatchOptions, expected_slots, slots_to_order
from nanobatch.policy.breaker import OutageBreaker
from nanobatch.policy.budget import Budget, BudgetGate
from nanobatch.policy.dispatch import chance_of
from nanobatch.policy.pace import Pace, Pacer, Spent
from nanobatch.policy.pause import Pauses
from nanobatch.policy.permits import Permits
from nanobatch.policy.retry import Retry
from nanobatch.policy.route import Lesson, Prior, Router, SlotsBill, Tally
from nanobatch.policy.stop import StopRule
from nanobatch.policy.wakeup import Wakeup

__all__ = [
    "BatchOptions",
    "Budget",
    "BudgetGate",
    "Lesson",
    "OutageBreaker",
    "Pace",
    "Pacer",
    "Pauses",
    "Permits",
    "Prior",
    "Retry",
    "Router",
    "SlotsBill",
    "Spent",
    "StopRule",
    "Tally",
    "Wakeup",
    "chance_of",
    "expected_slots",
    "slots_to_order",
]
