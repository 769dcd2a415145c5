"""`nanobatch estimate`: what so many accepted images will cost, and between which bounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobatch.checkpoint import Checkpoint
from nanobatch.commands.answer import (
    EXIT_FINDINGS,
    EXIT_OK,
    Answer,
    estimate_json,
    new_parser,
    respond,
    usd_json,
)
from nanobatch.commands.models import registry_of
from nanobatch.cost import CostModel
from nanobatch.cost.table import show_usd, text_table
from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from nanobatch.cost import Forecast

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Say what images cost; return 1 if nothing was accepted yet, so that nobody can know."""
    parser = new_parser(
        "estimate",
        "Say what so many accepted images will cost: by what a checkpoint measured, by the rates "
        "of your config, or by rates of your own.",
    )
    parser.add_argument("images", type=int, nargs="+", metavar="IMAGES", help="how many")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="take the rates and prices of this one"
    )
    parser.add_argument("--tier", choices=("lite", "quality"), help="only that tier of it")
    parser.add_argument("--tag", help="only jobs of it with that tag")
    parser.add_argument("--config", type=Path, metavar="FILE", help="your nanobatch.toml")
    parser.add_argument("--role", default="lite", help="role or model (lite)")
    parser.add_argument("--size", default="1K", help="size of an image (1K)")
    parser.add_argument("--batch", action="store_true", help="at the prices of the Batch API")
    parser.add_argument("--accept", metavar="RATE", help="accept rate, above 0 up to 1")
    parser.add_argument(
        "--regenerate", metavar="RATE", default="0", help="billed calls per slot beyond one (0)"
    )
    return respond(parser, argv, _work)


def _work(options: argparse.Namespace) -> Answer:
    try:
        model = _model(options)
        forecasts = [model.forecast(images) for images in options.images]
    except ValueError as error:  # a number that cannot be meant
        raise ConfigError(str(error)) from error
    is_known = all(one.expected_usd.is_finite() for one in forecasts)
    header = ("images", "USD", "from", "to")
    table = text_table([header, *(_row(one) for one in forecasts)])
    note = forecasts[0].note
    return Answer(
        text=f"{table}\n\n{model}\n{note}".rstrip(),
        json={
            "usd_per_accepted": usd_json(model.usd_per_accepted),
            "usd_per_accepted_estimate": estimate_json(model.estimate()),
            "accept_rate": usd_json(model.accept_rate),
            "regeneration_rate": usd_json(model.regeneration_rate),
            "usd_per_call": usd_json(model.usd_per_call),
            "usd_other_per_slot": usd_json(model.usd_other_per_slot),
            "level": forecasts[0].level,
            "is_measured": forecasts[0].is_measured,
            "forecasts": [_as_json(one) for one in forecasts],
        },
        exit_code=EXIT_OK if is_known else EXIT_FINDINGS,
    )


def _model(options: argparse.Namespace) -> CostModel:
    """Return the cost model that the options name.

    Raises:
        ConfigError: They contradict each other, or no rates are known.
    """
    is_part = options.tier is not None or options.tag is not None
    if options.checkpoint is not None:
        if options.config is not None or options.accept is not None:
            raise ConfigError("--checkpoint brings its own rates: leave --config and --accept out.")
        with Checkpoint.read(options.checkpoint) as checkpoint:
            return checkpoint.cost_model(tier=options.tier, tag=options.tag)
    if is_part:
        raise ConfigError("--tier and --tag choose slots of a checkpoint: add --checkpoint FOLDER.")
    registry = registry_of(options.config)
    model = registry.resolve(options.role)
    if options.accept is not None:
        return CostModel(
            usd_per_call=model.usd_per_image(options.size, batch=options.batch),
            regeneration_rate=options.regenerate,
            accept_rate=options.accept,
        )
    if options.role not in registry.rates and model.id not in registry.rates:
        raise ConfigError(
            f"No rates have been measured for {options.role!r}: add --accept RATE, or "
            "--checkpoint FOLDER, or --config FILE with a [rates] table."
        )
    return CostModel.from_registry(registry, options.role, size=options.size, batch=options.batch)


def _row(one: Forecast) -> tuple[str, ...]:
    amounts = (one.expected_usd, one.low_usd, one.high_usd)
    usd = (show_usd(amount) if amount.is_finite() else "unknown" for amount in amounts)
    return (f"{one.images:,}", *usd)


def _as_json(one: Forecast) -> dict[str, Any]:
    return {
        "images": one.images,
        "usd": usd_json(one.expected_usd),
        "low_usd": usd_json(one.low_usd),
        "high_usd": usd_json(one.high_usd),
    }
