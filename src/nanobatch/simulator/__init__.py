"""A local Gemini for tests and demos: real HTTP, real images, its own bill, failures on request."""

from nanobatch.simulator import answers, batch
from nanobatch.simulator.answer import Answer
from nanobatch.simulator.bill import Bill, BillLine
from nanobatch.simulator.call import Call
from nanobatch.simulator.command import main
from nanobatch.simulator.simulator import Simulator

__all__ = ["Answer", "Bill", "BillLine", "Call", "Simulator", "answers", "batch", "main"]
