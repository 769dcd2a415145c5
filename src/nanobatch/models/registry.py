"""Which models there are, by role, id and alias: the built-in sheet and the user's file over it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from nanobatch.errors import ModelRetiredError, RegistryError, UnknownModelError
from nanobatch.models.model import Model
from nanobatch.models.price import PriceRow, utc_day
from nanobatch.models.rates import MeasuredRates
from nanobatch.models.rates_file import write_rates
from nanobatch.models.sheet import did_you_mean, parse_sheet, read_sheet, sheet_error, toml_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from nanobatch.models.rates import Measurement
    from nanobatch.models.sheet import ModelSection, PriceSection, RatesSection, Sheet

__all__ = ["ModelRegistry"]

TYPO_SIMILARITY = 0.9
"""From this `difflib` ratio on, a new id without sizes is taken for a misspelt known one."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class ModelRegistry:
    """All known models and the roles they play; immutable.

    ```python
    registry = ModelRegistry.load("nanobatch.toml")
    registry["lite"].usd_per_image()  # by role, id or alias
    ```

    Raises:
        RegistryError: Two names clash, or a role or rate belongs to no known model.
    """

    models: Mapping[str, Model]
    """Every known model by id, retired ones too; read-only."""

    roles: Mapping[str, str]
    """Model id by role, `"lite"` and `"quality"` at least in the built-in one; read-only."""

    rates: Mapping[str, MeasuredRates] = field(default_factory=dict[str, MeasuredRates])
    """What was measured, by role or model id; read-only."""

    file: Path | None = None
    """The user's file it was loaded from; `None` without one."""

    _ids: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Check that every name means one model, and close the tables."""
        ids = _ids_by_name(self.models, self.roles, file=self.file)
        for name in self.rates:
            if name not in self.roles and name not in self.models:
                raise sheet_error(
                    self.file,
                    toml_key("rates", name),
                    f"names no role or model id{did_you_mean(name, [*self.roles, *self.models])}",
                )
        roles = {role: ids[role] for role in self.roles}
        object.__setattr__(self, "models", MappingProxyType(dict(self.models)))
        object.__setattr__(self, "roles", MappingProxyType(roles))
        object.__setattr__(self, "rates", MappingProxyType(dict(self.rates)))
        object.__setattr__(self, "_ids", MappingProxyType(ids))

    @staticmethod
    def builtin() -> ModelRegistry:
        """Return the registry of the price sheet that comes with this release."""
        return _builtin()

    @staticmethod
    def load(path: str | Path) -> ModelRegistry:
        """Return the built-in registry with a user's TOML file over it.

        Roles replace roles. A model changes only in the fields that are written: lists are
        replaced, `image_tokens` changes by size, a price row is added or takes the place of the
        row with the same `effective_from`; `retires = ""` takes a date back.

        Raises:
            RegistryError: The file cannot be read or used; the message is one sentence with file,
                dotted key, what is wrong and what to do.
        """
        file = Path(path)
        return _over(_builtin(), read_sheet(file), file=file)

    def rates_of(self, model: Model) -> MeasuredRates | None:
        """Return what was measured of a model: of a role it has, or else under its id."""
        roles = [role for role, model_id in self.roles.items() if model_id == model.id]
        return next((self.rates[name] for name in (*roles, model.id) if name in self.rates), None)

    def name_of(self, model: Model) -> str:
        """Return what rates of a model are saved under: its first role, or else its id."""
        roles = (role for role, model_id in self.roles.items() if model_id == model.id)
        return next(roles, model.id)

    def save_rates(
        self,
        rates: Mapping[str, MeasuredRates | Measurement],
        path: str | Path | None = None,
        *,
        measured_on: date | None = None,
    ) -> ModelRegistry:
        """Write measured rates into the user's file, so that forecasts start from them.

        Only the `[rates]` tables named here change; comments and everything else stay.

        ```python
        registry = registry.save_rates({"lite": checkpoint.cost_model(tier="lite")})
        ```

        Args:
            rates: Rates by role or model id: what `calibrate` returns as `rates`, or cost models
                of a ledger. A cost model counts accepted images, so of jobs with `best_of` above 1
                it says less than passes: take those of `calibrate`.
            path: The file, created if missing; by default the one this registry was loaded from.
            measured_on: Day of cost models that are saved; today in UTC if not given.

        Returns:
            This registry with the new rates in it.

        Raises:
            RegistryError: A name is no role or model id, nothing was accepted or measured, there
                is no file to write to, or it cannot be read or written.
        """
        file = self.file if path is None else Path(path)
        if file is None:
            raise RegistryError(
                "This registry was not loaded from a file: say where the rates go, as "
                "save_rates(..., path='nanobatch.toml')."
            )
        day = utc_day(measured_on)
        measured = {name: _rates_of(name, one, day, file=file) for name, one in rates.items()}
        changed = replace(self, rates={**self.rates, **measured}, file=file)
        write_rates(file, measured)
        return changed

    def __repr__(self) -> str:
        """Show size and roles; the whole sheet would fill screens."""
        roles = "".join(f", {role}={model_id}" for role, model_id in self.roles.items())
        return f"ModelRegistry({len(self.models)} models{roles})"

    def __getitem__(self, name: str) -> Model:
        """Return the model of a role, an id or an alias, retired or not.

        Raises:
            UnknownModelError: Nothing has that name.
        """
        try:
            return self.models[self._ids[name]]
        except KeyError:
            roles = ", ".join(self.roles) or "none"
            raise UnknownModelError(
                f'No role, id or alias is called "{name}"{did_you_mean(name, self._ids) or "."} '
                f"The roles are: {roles}; `.models` lists the ids.",
                file=self.file,
            ) from None

    def __contains__(self, name: object) -> bool:
        """Return whether a role, an id or an alias has that name."""
        return name in self._ids

    def resolve(self, name_or_model: str | Model) -> Model:
        """Return the model of a name; a `Model` is returned as it is, known or not.

        Raises:
            UnknownModelError: Nothing has that name.
        """
        if isinstance(name_or_model, Model):
            return name_or_model
        if not isinstance(cast("object", name_or_model), str):
            raise UnknownModelError(
                f"A model is named by a role, an id or an alias, not by {name_or_model!r}."
            )
        return self[name_or_model]

    def usable(self, name_or_model: str | Model, on: date | None = None) -> Model:
        """Return a model that calls can be made on.

        Args:
            name_or_model: A role, an id, an alias or a model.
            on: Day of the calls; today in UTC if not given.

        Raises:
            UnknownModelError: Nothing has that name.
            ModelRetiredError: The provider has switched it off by that day.
        """
        model = self.resolve(name_or_model)
        if model.retires is None or not model.is_retired(on):
            return model
        file = self.file or "nanobatch.toml"
        replacement = f'"{model.replacement}"' if model.replacement else "a model that still works"
        if isinstance(name_or_model, str) and name_or_model in self.roles:
            remedy = f"write {name_or_model} = {replacement} under [roles] in {file}"
        else:
            remedy = f"ask for {replacement} instead"
        raise ModelRetiredError(
            f"{model.id} was switched off on {model.retires}; {remedy}. If it still answers you, "
            f'write retires = "" under [models."{model.id}"] in {file}.',
            model_id=model.id,
            retired_on=model.retires,
            replacement=model.replacement,
        )

    def retiring(self, within_days: int = 60, on: date | None = None) -> tuple[Model, ...]:
        """Return the models that still work but are switched off soon, the soonest first.

        Args:
            within_days: How far to look ahead; the last day counts.
            on: Day to look from; today in UTC if not given.
        """
        day = utc_day(on)
        last_day = day + timedelta(days=within_days)
        soon = [
            (model.retires, model.id)
            for model in self.models.values()
            if model.retires is not None and day < model.retires <= last_day
        ]
        return tuple(self.models[model_id] for _, model_id in sorted(soon))


@functools.cache
def _builtin() -> ModelRegistry:
    text = resources.files("nanobatch.models").joinpath("sheet.toml").read_text("utf-8")
    nothing = ModelRegistry(models={}, roles={})
    return _over(nothing, parse_sheet(text, file=None), file=None)


def _over(base: ModelRegistry, sheet: Sheet, *, file: Path | None) -> ModelRegistry:
    models = dict(base.models)
    for model_id, section in sheet.models.items():
        before = models.pop(model_id, None)  # to the end: of two that clash this one is blamed
        if before is None:
            _refuse_typo(model_id, section, base, file=file)
        models[model_id] = _changed(before or Model(id=model_id, name=model_id), section, file=file)
    rates = {name: _measured(section) for name, section in sheet.rates.items()}
    return ModelRegistry(
        models=models,
        roles={**base.roles, **sheet.roles},
        rates={**base.rates, **rates},
        file=file,
    )


def _changed(model: Model, section: ModelSection, *, file: Path | None) -> Model:
    """Return the model with the written fields of a section over it."""
    written: dict[str, Any] = {key: getattr(section, key) for key in section.model_fields_set}
    if "image_tokens" in written:
        written["image_tokens"] = {**model.image_tokens, **section.image_tokens}
    if "default_thinking_level" in written:
        written["default_thinking_level"] = section.default_thinking_level or None
    rows = {row.effective_from: row for row in model.prices}
    written_days: set[date] = set()
    for number, price in enumerate(section.prices):
        if price.effective_from in written_days:
            key = toml_key("models", model.id, "prices", number, "effective_from")
            raise sheet_error(
                file, key, f"is the second row from {price.effective_from}; keep one of them"
            )
        written_days.add(price.effective_from)
        rows[price.effective_from] = _row(price)
    changed = replace(model, **{**written, "prices": tuple(rows.values())})
    level = changed.default_thinking_level
    if level is not None and level not in changed.thinking_levels:
        raise sheet_error(
            file,
            toml_key("models", model.id, "default_thinking_level"),
            f'is "{level}", which is not one of its thinking_levels; add it there or change it',
        )
    return changed


def _row(price: PriceSection) -> PriceRow:
    return PriceRow(
        effective_from=price.effective_from,
        input_usd_per_million_tokens=price.input,
        text_output_usd_per_million_tokens=price.text_output,
        image_output_usd_per_million_tokens=price.image_output,
        batch_factor=price.batch_factor,
    )


def _rates_of(
    name: str, measured: MeasuredRates | Measurement, day: date, *, file: Path
) -> MeasuredRates:
    """Return what was measured of a role, if a cost can be stated from it.

    Raises:
        RegistryError: It cannot.
    """
    if isinstance(measured, MeasuredRates):
        return measured
    if not measured.slots or not measured.accept_rate:
        counted = measured.slots or "no"
        raise sheet_error(
            file,
            toml_key("rates", name),
            f"cannot be set: nothing was accepted in {counted} slots; measure it again when the "
            "prompts and filters work",
        )
    return MeasuredRates(
        accept=measured.accept_rate,
        regenerate=measured.regeneration_rate,
        slots=measured.slots,
        measured_on=day,
    )


def _measured(section: RatesSection) -> MeasuredRates:
    return MeasuredRates(
        accept=section.accept,
        regenerate=section.regenerate,
        slots=section.slots,
        measured_on=section.measured_on,
    )


def _refuse_typo(
    model_id: str, section: ModelSection, base: ModelRegistry, *, file: Path | None
) -> None:
    """Refuse a table that was most likely meant for another id and would change nothing.

    Raises:
        RegistryError: The id is an alias or role, or nearly a known id and says nothing it makes.
    """
    key = toml_key("models", model_id)
    if model_id in base:
        target = base[model_id].id
        raise sheet_error(
            file, key, f'is another name of {target}; write [models."{target}"] to change it'
        )
    near = get_close_matches(model_id, list(base.models), n=1, cutoff=TYPO_SIMILARITY)
    if near and not section.sizes:
        raise sheet_error(
            file,
            key,
            f'is no known model; did you mean "{near[0]}"? A new model needs its sizes and '
            "aspect_ratios",
        )


def _ids_by_name(
    models: Mapping[str, Model], roles: Mapping[str, str], *, file: Path | None
) -> dict[str, str]:
    """Return the model id of every id, alias and role.

    Raises:
        RegistryError: A name has two meanings, or a role has none.
    """
    ids = {model_id: model_id for model_id in models}
    for model in models.values():
        for alias in model.aliases:
            if alias in ids or alias in roles:
                owner = f"a name of {ids[alias]}" if alias in ids else "a role"
                raise sheet_error(
                    file,
                    toml_key("models", model.id, "aliases"),
                    f'has "{alias}", which is also {owner}; rename one of the two',
                )
            ids[alias] = model.id
    targets = {role: _role_target(role, name, ids, file=file) for role, name in roles.items()}
    return {**ids, **targets}


def _role_target(role: str, name: str, ids: Mapping[str, str], *, file: Path | None) -> str:
    key = toml_key("roles", role)
    if role in ids:
        raise sheet_error(file, key, f"is already a name of {ids[role]}; choose another role name")
    if name not in ids:
        hint = did_you_mean(name, ids) or "; add it under [models] or name a known one"
        raise sheet_error(file, key, f'names the unknown model "{name}"{hint}')
    return ids[name]
