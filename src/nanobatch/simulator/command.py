"""`nanobatch simulate`: the simulator as a program of its own, until it is stopped."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, TextIO

import anyio

from nanobatch.simulator.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        anyio.run(_serve, simulator, sys.stdout, _address_json if options.json else _address)
    except KeyboardInterrupt:
        pass  # where signals cannot be awaited, this is how SIGINT arrives
    except OSError as taken:
        sys.stderr.write(f"Cannot listen on port {options.port}: {taken.strerror or taken}.\n")
        return _TAKEN
    sys.stdout.write(_bill_json(simulator.bill) if options.json else bill_table(simulator.bill))
    return 0


async def _serve(simulator: Simulator, out: TextIO, greet: Callable[[str], str]) -> None:
    def say_where() -> None:
        out.write(greet(simulator.base_url))
        out.flush()

    async with simulator:
        try:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                say_where()  # whoever reads it may stop us at once
                async for _ in signals:
                    return
        except NotImplementedError:  # Windows: KeyboardInterrupt ends it instead
            say_where()
            await anyio.sleep_forever()


def _address(base_url: str) -> str:
    return (
        f"A simulated Gemini listens on {base_url}\n"
        "Point nanobatch at it:\n\n"
        f'    Gemini(api_key="anything", base_url="{base_url}")\n\n'
        "Nothing costs anything. Stop it with Ctrl-C to see its bill.\n"
    )


def _address_json(base_url: str) -> str:
    return json.dumps({"base_url": base_url}) + "\n"


def _bill_json(bill: Bill) -> str:
    models = {model: f"{usd:f}" for model, usd in bill.by_model().items()}
    return (
        json.dumps(
            {
                "requests": bill.requests,
                "images": bill.images,
                "usd": f"{bill.usd:f}",
                "usd_by_model": models,
            }
        )
        + "\n"
    )


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
        epilog="Exit code: 0 when it is stopped, 2 it could not be started as asked.",
    )
    parser.add_argument("--port", type=int, default=8400, help="port to listen on (8400)")
    parser.add_argument("--seed", type=int, default=0, help="another seed is other luck (0)")
    parser.add_argument(
        "--accept-rate", type=float, default=1.0, help="probability of a good image (1.0)"
    )
    parser.add_argument(
        "--latency-seconds", type=float, default=0.0, help="how long an image takes (0)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the address and the bill as JSON, a line each"
    )
    return parser
