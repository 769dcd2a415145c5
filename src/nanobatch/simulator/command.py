"""`python -m nanobatch simulate`: the simulator as a program of its own, until it is stopped."""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, TextIO

import anyio

from nanobatch.simulator.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.simulator.bill import Bill

__all__ = ["bill_table", "main"]

_TAKEN = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, then print the bill; return the exit code."""
    options = _parser().parse_args(argv)
    try:
        simulator = Simulator(
            seed=options.seed,
            accept_rate=options.accept_rate,
            latency_seconds=options.latency_seconds,
            port=options.port,
        )
    except ValueError as wrong:
        sys.stderr.write(f"{wrong}\n")
        return _TAKEN
    try:
        anyio.run(_serve, simulator, sys.stdout)
    except KeyboardInterrupt:
        pass  # where signals cannot be awaited, this is how SIGINT arrives
    except OSError as taken:
        sys.stderr.write(f"Cannot listen on port {options.port}: {taken.strerror or taken}.\n")
        return _TAKEN
    sys.stdout.write(bill_table(simulator.bill))
    return 0


async def _serve(simulator: Simulator, out: TextIO) -> None:
    async with simulator:
        out.write(
            f"A simulated Gemini listens on {simulator.base_url}\n"
            "Point nanobatch at it:\n\n"
            f'    Gemini(api_key="anything", base_url="{simulator.base_url}")\n\n'
            "Nothing costs anything. Stop it with Ctrl-C to see its bill.\n"
        )
        out.flush()
        try:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    return
        except NotImplementedError:  # Windows: KeyboardInterrupt ends it instead
            await anyio.sleep_forever()


def bill_table(bill: Bill) -> str:
    """Return the bill as text: one line a model, and one more for its batches."""
    requests: Counter[str] = Counter()
    images: Counter[str] = Counter()
    nano_usd: Counter[str] = Counter()
    for line in bill.lines:
        name = f"{line.model} (batch)" if line.batch else line.model
        requests[name] += 1
        images[name] += line.images
        nano_usd[name] += line.nano_usd
    rows = [
        (name, str(requests[name]), str(images[name]), f"{Decimal(nano_usd[name]) / 10**9:.6f}")
        for name in sorted(requests)
    ]
    rows.append(("total", str(bill.requests), str(bill.images), f"{bill.usd:.6f}"))
    head = ("model", "requests", "images", "USD")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    text = "\n"
    for row in [head, *rows]:
        name = row[0].ljust(widths[0])
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        text += "  ".join((name, *numbers)) + "\n"
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nanobatch simulate",
        description="Serve a local Gemini that draws, bills and costs nothing.",
    )
    parser.add_argument("--port", type=int, default=8400, help="port to listen on (8400)")
    parser.add_argument("--seed", type=int, default=0, help="another seed is other luck (0)")
    parser.add_argument(
        "--accept-rate", type=float, default=1.0, help="probability of a good image (1.0)"
    )
    parser.add_argument(
        "--latency-seconds", type=float, default=0.0, help="how long an image takes (0)"
    )
    return parser
