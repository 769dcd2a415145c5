"""Batch jobs in a run: what is ordered in rounds, sent in shards, and collected hours later."""

from nanobatch.pipeline.batch.mail import Mail, open_mail
from nanobatch.pipeline.batch.orders import JobOrders, OrderRoom

__all__ = ["JobOrders", "Mail", "OrderRoom", "open_mail"]
