"""`nanobatch models`: which models there are, what they cost, and until when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch.commands.answer import (
    EXIT_FINDINGS,
    EXIT_OK,
    Answer,
    new_parser,
    respond,
    usd_json,
)
from nanobatch.cost import CostModel
from nanobatch.cost.table import show_usd, text_table
from nanobatch.errors import PriceUnknownError, one_line
from nanobatch.models import ModelRegistry
from nanobatch.models.price import utc_day

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from datetime import date
    from decimal import Decimal

    from nanobatch.models import Model

__all__ = ["main", "registry_of"]

SOON_DAYS = 60
HEADER = ("role", "model", "{size} USD", "batch USD", "retires", "switch to")


def main(argv: Sequence[str] | None = None) -> int:
    """List the models; return 1 if one that has a role is switched off or soon will be."""
    parser = new_parser(
        "models", "List models with their prices, retirement dates and what to switch to."
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="your nanobatch.toml")
    parser.add_argument("--all", action="store_true", help="also those that are switched off")
    parser.add_argument("--size", default="1K", help="size of the image that is priced (1K)")
    return respond(parser, argv, _work)


def registry_of(config: Path | None) -> ModelRegistry:
    """Return the built-in registry, with a config over it if there is one.

    Raises:
        RegistryError: The config cannot be used.
    """
    return ModelRegistry.builtin() if config is None else ModelRegistry.load(config)


def _work(options: argparse.Namespace) -> Answer:
    registry, today = registry_of(options.config), utc_day(on=None)
    shown = [
        model
        for model in registry.models.values()
        if options.all or not _is_off(model, today) or _roles(registry, model)
    ]
    shown.sort(key=lambda model: (not _roles(registry, model), model.id))
    soon = {model.id for model in registry.retiring(SOON_DAYS)}
    urgent = [
        model
        for model in shown
        if _roles(registry, model) and (model.id in soon or _is_off(model, today))
    ]
    header = tuple(cell.format(size=options.size) for cell in HEADER)
    rows = [_row(registry, model, options.size) for model in shown]
    lines = [text_table([header, *rows], words=2)]
    lines += [_measured(registry, role) for role in registry.roles if role in registry.rates]
    lines += [_urgent(registry, model, today) for model in urgent]
    return Answer(
        text="\n".join(lines),
        json={
            "size": options.size,
            "models": [_as_json(registry, model, options.size, today) for model in shown],
            "rates": {
                name: {
                    "accept": usd_json(rates.accept),
                    "regenerate": usd_json(rates.regenerate),
                    "slots": rates.slots,
                    "measured_on": rates.measured_on,
                }
                for name, rates in registry.rates.items()
            },
            "act_on": [model.id for model in urgent],
        },
        exit_code=EXIT_FINDINGS if urgent else EXIT_OK,
    )


def _row(registry: ModelRegistry, model: Model, size: str) -> tuple[str, ...]:
    return (
        one_line(", ".join(_roles(registry, model))),
        one_line(model.id),
        _shown(_price(model, size, batch=False)),
        _shown(_price(model, size, batch=True)),
        "" if model.retires is None else model.retires.isoformat(),
        one_line(model.replacement),
    )


def _as_json(registry: ModelRegistry, model: Model, size: str, today: date) -> dict[str, object]:
    return {
        "id": model.id,
        "name": model.name,
        "roles": _roles(registry, model),
        "aliases": list(model.aliases),
        "sizes": list(model.sizes),
        "usd_per_image": usd_json(_price(model, size, batch=False)),
        "usd_per_image_in_a_batch": usd_json(_price(model, size, batch=True)),
        "retires": model.retires,
        "is_retired": _is_off(model, today),
        "replacement": model.replacement or None,
    }


def _measured(registry: ModelRegistry, role: str) -> str:
    model = CostModel.from_registry(registry, role)
    day = registry.rates[role].measured_on
    return f"\n{one_line(role)}, measured on {day}: {model}"


def _urgent(registry: ModelRegistry, model: Model, today: date) -> str:
    roles = " and ".join(_roles(registry, model))
    verb = "was" if _is_off(model, today) else "is"
    switch = f": switch to {model.replacement}" if model.replacement else ""
    return one_line(f"{model.id} ({roles}) {verb} switched off on {model.retires}{switch}.")


def _roles(registry: ModelRegistry, model: Model) -> list[str]:
    return [role for role, model_id in registry.roles.items() if model_id == model.id]


def _is_off(model: Model, today: date) -> bool:
    return model.retires is not None and model.retires <= today


def _price(model: Model, size: str, *, batch: bool) -> Decimal | None:
    try:
        return model.usd_per_image(size, batch=batch)
    except PriceUnknownError:
        return None


def _shown(price: Decimal | None) -> str:
    return "" if price is None else show_usd(price)
