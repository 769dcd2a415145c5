"""What an accepted image costs: the ledger, the formula, and two tiers compared."""

from nanobatch.cost.compare import Comparison, compare
from nanobatch.cost.estimate import Estimate
from nanobatch.cost.forecast import Forecast
from nanobatch.cost.ledger import LedgerLine, LedgerTotals, LineKind, Outcome, Stage
from nanobatch.cost.model import CostModel
from nanobatch.cost.scatter import SlotOutcome, SlotSums
from nanobatch.cost.table import CostTable
from nanobatch.cost.two_tier import break_even_accept_rate, two_tier_usd_per_accepted

__all__ = [
    "Comparison",
    "CostModel",
    "CostTable",
    "Estimate",
    "Forecast",
    "LedgerLine",
    "LedgerTotals",
    "LineKind",
    "Outcome",
    "SlotOutcome",
    "SlotSums",
    "Stage",
    "break_even_accept_rate",
    "compare",
    "two_tier_usd_per_accepted",
]
