from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest

from nanobatch.errors import (
    ModelRetiredError,
    PriceUnknownError,
    RegistryError,
    UnknownModelError,
)
from nanobatch.models import MeasuredRates, Model, ModelRegistry, PriceRow, Tier

if TYPE_CHECKING:
    from pathlib import Path

LITE = "gemini-3.1-flash-lite-image"
ROW = 'effective_from = 2026-12-01\ninput = "1"\ntext_output = "2"\nimage_output = "3"\n'
RATES = "[rates.lite]\naccept = 0.70\nregenerate = 0.08\nslots = 50\nmeasured_on = 2026-11-23\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "nanobatch.toml"


def load(file: Path, text: str) -> ModelRegistry:
    file.write_text(text, encoding="utf-8")
    return ModelRegistry.load(file)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lite", Tier.LITE, LITE, "nano-banana-2-lite"])
def test_a_model_is_found_by_role_id_and_alias(name: str) -> None:
    registry = ModelRegistry.builtin()

    assert name in registry
    assert registry[name].id == LITE
    assert registry.resolve(name) is registry[name]


def test_a_model_stands_for_itself_known_or_not() -> None:
    model = Model(id="home-made")

    assert ModelRegistry.builtin().resolve(model) is model
    assert ModelRegistry.builtin().usable(model) is model


def test_an_unknown_name_is_answered_with_the_nearest_one_and_the_roles() -> None:
    registry = ModelRegistry.builtin()

    with pytest.raises(UnknownModelError) as caught:
        registry["nano-bananna"]

    assert "nano-bananna" not in registry
    assert str(caught.value) == (
        'No role, id or alias is called "nano-bananna"; did you mean "nano-banana"? '
        "The roles are: lite, quality, judge; `.models` lists the ids."
    )


def test_an_unknown_name_like_no_other_is_only_told_the_roles() -> None:
    with pytest.raises(UnknownModelError) as caught:
        ModelRegistry.builtin().resolve("xyz")

    assert str(caught.value) == (
        'No role, id or alias is called "xyz". '
        "The roles are: lite, quality, judge; `.models` lists the ids."
    )


def test_nobody_can_change_a_registry() -> None:
    registry = ModelRegistry.builtin()

    for table in (registry.models, registry.roles, registry.rates):
        with pytest.raises(TypeError):
            cast("Any", table)["lite"] = "x"


def test_a_registry_shows_its_roles() -> None:
    assert repr(ModelRegistry.builtin()) == (
        f"ModelRegistry(13 models, lite={LITE}, quality=gemini-nano-banana-2.1, "
        "judge=gemini-3.1-flash-lite)"
    )


# --- retirement ----------------------------------------------------------------------------------


def test_a_retired_model_can_be_looked_up_but_not_used() -> None:
    registry = ModelRegistry.builtin()

    with pytest.raises(ModelRetiredError) as caught:
        registry.usable("nano-banana", on=date(2026, 10, 2))

    assert registry["nano-banana"].id == "gemini-2.5-flash-image"
    assert caught.value.model_id == "gemini-2.5-flash-image"
    assert caught.value.retired_on == date(2026, 10, 2)
    assert caught.value.replacement == LITE
    assert str(caught.value) == (
        f'gemini-2.5-flash-image was switched off on 2026-10-02; ask for "{LITE}" instead. '
        'If it still answers you, write retires = "" under [models."gemini-2.5-flash-image"] '
        "in nanobatch.toml."
    )


def test_a_retired_role_names_the_line_of_the_config_to_change(file: Path) -> None:
    registry = load(file, '[roles]\nquality = "nano-banana-2"\n')

    with pytest.raises(ModelRetiredError) as caught:
        registry.usable("quality", on=date(2026, 10, 29))

    assert str(caught.value) == (
        "gemini-3.1-flash-image was switched off on 2026-10-29; write "
        f'quality = "gemini-nano-banana-2.1" under [roles] in {file}. If it still answers you, '
        f'write retires = "" under [models."gemini-3.1-flash-image"] in {file}.'
    )


def test_a_retired_model_without_a_replacement_says_so_too() -> None:
    model = Model(id="old", retires=date(2026, 1, 1))

    with pytest.raises(ModelRetiredError, match="ask for a model that still works instead"):
        ModelRegistry.builtin().usable(model)


def test_the_day_before_it_retires_a_model_is_usable() -> None:
    registry = ModelRegistry.builtin()

    assert registry.usable("nano-banana-2", on=date(2026, 10, 28)).id == "gemini-3.1-flash-image"


def test_models_that_retire_soon_are_listed_soonest_first() -> None:
    registry = ModelRegistry.builtin()
    first, second = "gemini-2.5-flash-image", "gemini-3.1-flash-image"  # 2 and 29 October

    def retiring(on: date, within_days: int = 60) -> list[str]:
        return [model.id for model in registry.retiring(within_days, on)]

    assert retiring(date(2026, 9, 1)) == [first, second]
    assert retiring(date(2026, 9, 1), within_days=58) == [first, second]  # 1 September + 58 days
    assert retiring(date(2026, 9, 1), within_days=57) == [first]
    assert retiring(date(2026, 10, 2)) == [second]
    assert retiring(date(2026, 10, 28), within_days=1) == [second]
    assert retiring(date(2026, 10, 29)) == []


def test_without_a_day_retirement_is_looked_for_from_today(file: Path) -> None:
    soon = datetime.now(UTC).date() + timedelta(days=30)

    registry = load(file, f"[models.new]\nretires = {soon}\n")

    assert "new" in [model.id for model in registry.retiring()]


# --- the user's file over the built-in one -------------------------------------------------------


def test_an_empty_file_changes_nothing(file: Path) -> None:
    registry = load(file, "")

    assert registry.models == ModelRegistry.builtin().models
    assert registry.roles == ModelRegistry.builtin().roles
    assert registry.file == file
    assert ModelRegistry.builtin().file is None


def test_a_new_price_holds_from_its_day_on_and_leaves_the_past_alone(file: Path) -> None:
    text = f'[[models."{LITE}".prices]]\n' + ROW.replace('"3"', '"45"')

    model = load(file, text)["lite"]

    # 1,120 tokens at 30 and at 45 USD per million
    assert model.usd_per_image(on=date(2026, 11, 30)) == Decimal("0.0336")
    assert model.usd_per_image(on=date(2026, 12, 1)) == Decimal("0.0504")
    assert model.prices[-1] == PriceRow(
        effective_from=date(2026, 12, 1),
        input_usd_per_million_tokens=Decimal(1),
        text_output_usd_per_million_tokens=Decimal(2),
        image_output_usd_per_million_tokens=Decimal(45),
        batch_factor=Decimal("0.5"),
    )
    assert len(model.prices) == 2


def test_a_price_of_the_same_day_takes_the_place_of_the_built_in_one(file: Path) -> None:
    text = (
        f'[[models."{LITE}".prices]]\neffective_from = 2026-06-30\n'
        'input = 0.1\ntext_output = 2\nimage_output = "30.5"\nbatch_factor = 0.4\n'
    )

    (row,) = load(file, text)["lite"].prices

    # a TOML float is read as it is written: 0.1 and not 0.1000000000000000055
    assert row.input_usd_per_million_tokens == Decimal("0.1")
    assert row.text_output_usd_per_million_tokens == Decimal(2)
    assert row.image_output_usd_per_million_tokens == Decimal("30.5")
    assert row.batch_factor == Decimal("0.4")


def test_only_the_fields_that_are_written_change_a_model(file: Path) -> None:
    before = ModelRegistry.builtin()["quality"]

    after = load(
        file,
        f'[models."{before.id}"]\nretires = 2027-06-30\nreplacement = "later"\n'
        f"timeout_seconds = 90\n[models.\"{before.id}\".image_tokens]\n'4K' = 2520\n",
    )["quality"]

    assert after.retires == date(2027, 6, 30)
    assert after.replacement == "later"
    assert after.timeout_seconds == 90.0
    assert dict(after.image_tokens) == {"1K": 1120, "2K": 1680, "4K": 2520}
    assert after.sizes == before.sizes
    assert after.aliases == before.aliases
    assert after.prices == before.prices


def test_a_retirement_that_did_not_happen_can_be_taken_back(file: Path) -> None:
    registry = load(file, '[models."gemini-2.5-flash-image"]\nretires = ""\n')

    assert registry.usable("nano-banana", on=date(2030, 1, 1)).retires is None


def test_a_default_thinking_level_can_be_taken_back(file: Path) -> None:
    model = load(file, f'[models."{LITE}"]\ndefault_thinking_level = ""\n')["lite"]

    assert model.default_thinking_level is None
    assert model.thinking_levels == ("minimal", "high")


def test_a_whole_new_model_can_be_added_and_given_a_role(file: Path) -> None:
    text = (
        '[roles]\nhero = "newest"\n'
        '[models."gemini-5-image"]\nname = "Nano Banana 5"\naliases = ["newest"]\n'
        'sizes = ["2K", "1K"]\naspect_ratios = ["1:1"]\nimage_tokens = { "1K" = 1000 }\n'
        f'max_reserved_output_tokens = 5000\n[[models."gemini-5-image".prices]]\n{ROW}'
    )

    registry = load(file, text)

    assert registry.roles["hero"] == "gemini-5-image"
    assert registry["hero"] is registry["newest"] is registry.models["gemini-5-image"]
    assert registry["hero"].sizes == ("1K", "2K")
    assert registry["hero"].max_reserved_output_tokens == 5000
    assert registry["hero"].timeout_seconds == 300.0
    # 1,000 tokens at 3 USD per million
    assert registry["hero"].usd_per_image(on=date(2026, 12, 1)) == Decimal("0.003")
    assert registry["lite"].id == LITE


def test_a_model_may_be_added_before_its_price_is_known(file: Path) -> None:
    registry = load(file, '[models.secret]\nsizes = ["1K"]\naspect_ratios = ["1:1"]\n')

    assert registry["secret"].name == "secret"
    with pytest.raises(PriceUnknownError, match="No price of secret is known"):
        registry["secret"].usd_per_image()


def test_measured_rates_are_read_by_role_and_by_id(file: Path) -> None:
    text = RATES + (
        f'[rates."{LITE}"]\naccept = 1\nregenerate = "1.5"\nslots = 1\nmeasured_on = 2026-11-01\n'
    )

    rates = load(file, text).rates

    assert rates["lite"] == MeasuredRates(
        accept=Decimal("0.70"),
        regenerate=Decimal("0.08"),
        slots=50,
        measured_on=date(2026, 11, 23),
    )
    assert rates[LITE].accept == 1
    assert rates[LITE].regenerate == Decimal("1.5")


def test_loading_leaves_the_built_in_registry_alone(file: Path) -> None:
    load(file, f'[roles]\nlite = "nano-banana-pro"\n[models."{LITE}"]\nname = "changed"\n')

    assert ModelRegistry.builtin()["lite"].name == "Nano Banana 2 Lite"


def test_a_file_saved_on_windows_is_read(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf[roles]\r\nlite = "nano-banana-pro"\r\n')

    assert ModelRegistry.load(str(file))["lite"].id == "gemini-3-pro-image"


# --- what is refused -----------------------------------------------------------------------------

REFUSED = [
    (
        "role = 1",
        "role",
        'is an unknown key; did you mean "roles"? The keys here are roles, models, rates.',
    ),
    (
        "[models.m]\nimage_token = {}",
        "models.m.image_token",
        (
            'is an unknown key; did you mean "image_tokens"? The keys here are name, aliases, '
            "sizes, aspect_ratios, image_tokens, released, retires, replacement, timeout_seconds, "
            "max_reserved_output_tokens, thinking_levels, default_thinking_level, prices."
        ),
    ),
    (
        f'[[models."m.1".prices]]\n{ROW}xyz = 1',
        'models."m.1".prices[0].xyz',
        (
            "is an unknown key. The keys here are effective_from, input, text_output, "
            "image_output, batch_factor."
        ),
    ),
    (
        RATES + "accepted = 1",
        "rates.lite.accepted",
        (
            'is an unknown key; did you mean "accept"? The keys here are accept, regenerate, '
            "slots, measured_on."
        ),
    ),
    ("models = 3", "models", "must be a table."),
    ("[models]\nm = 3", "models.m", "must be a table."),
    ("[roles]\nlite = 3", "roles.lite", "must be text in quotes."),
    ('[models.m]\nsizes = "1K"', "models.m.sizes", "must be a list in square brackets."),
    (
        '[models.m]\nsizes = ["1K", "2k"]',
        "models.m.sizes[1]",
        "is wrong: '2k' is no image size; sizes are written 512, 1K, 2K or 4K.",
    ),
    (
        '[models.m]\naspect_ratios = ["16x9"]',
        "models.m.aspect_ratios[0]",
        "is wrong: '16x9' is no aspect ratio; ratios are written width:height, such as 16:9.",
    ),
    (
        '[models.m]\nimage_tokens = { "1K" = 0 }',
        "models.m.image_tokens.1K",
        "should be greater than or equal to 1, not 0.",
    ),
    (
        '[models.m]\nmax_reserved_output_tokens = "4"',
        "models.m.max_reserved_output_tokens",
        "must be a whole number.",
    ),
    (
        "[models.m]\ntimeout_seconds = true",
        "models.m.timeout_seconds",
        "must be a number.",
    ),
    (
        "[models.m]\ntimeout_seconds = -1",
        "models.m.timeout_seconds",
        "should be greater than 0, not -1.",
    ),
    (
        '[models.m]\nretires = "soon"',
        "models.m.retires",
        "must be a day such as 2027-06-30, not soon.",
    ),
    (
        "[models.m]\nreleased = 2026-01-01T10:00:00",
        "models.m.released",
        "must be a day such as 2027-06-30, not 2026-01-01 10:00:00.",
    ),
    (
        '[models.m]\nthinking_levels = ["high"]\ndefault_thinking_level = "low"',
        "models.m.default_thinking_level",
        'is "low", which is not one of its thinking_levels; add it there or change it.',
    ),
    ('[models.""]', 'models.""', "must be a name without space around it, not ''."),
    (
        "[[models.m.prices]]\n" + ROW.replace('input = "1"\n', ""),
        "models.m.prices[0].input",
        "is missing; add it.",
    ),
    (
        "[[models.m.prices]]\n" + ROW.replace('"1"', "-1"),
        "models.m.prices[0].input",
        "must not be negative, but is -1.",
    ),
    (
        "[[models.m.prices]]\n" + ROW.replace('"1"', "nan"),
        "models.m.prices[0].input",
        'must be a number such as "0.25", not nan.',
    ),
    (
        "[[models.m.prices]]\n" + ROW.replace('"1"', "inf"),
        "models.m.prices[0].input",
        'must be a number such as "0.25", not inf.',
    ),
    (
        "[[models.m.prices]]\n" + ROW.replace('"1"', "true"),
        "models.m.prices[0].input",
        'must be a number such as "0.25", not True.',
    ),
    (
        "[[models.m.prices]]\n" + ROW.replace('"1"', '"1,5"'),
        "models.m.prices[0].input",
        "must be a number such as \"0.25\", not '1,5'.",
    ),
    (
        f"[[models.m.prices]]\n{ROW}batch_factor = 2",
        "models.m.prices[0].batch_factor",
        "must be above 0 and at most 1, not 2.",
    ),
    (
        f"[[models.m.prices]]\n{ROW}[[models.m.prices]]\n{ROW}",
        "models.m.prices[1].effective_from",
        "is the second row from 2026-12-01; keep one of them.",
    ),
    (
        '[roles]\nlite = "nano-bananna"',
        "roles.lite",
        'names the unknown model "nano-bananna"; did you mean "nano-banana"?',
    ),
    (
        '[roles]\nhero = "xyz"',
        "roles.hero",
        'names the unknown model "xyz"; add it under [models] or name a known one.',
    ),
    (
        f'[roles]\n"{LITE}" = "nano-banana-pro"',
        f'roles."{LITE}"',
        f"is already a name of {LITE}; choose another role name.",
    ),
    (
        '[models.m]\naliases = ["nano-banana"]',
        "models.m.aliases",
        'has "nano-banana", which is also a name of gemini-2.5-flash-image; rename one of the two.',
    ),
    (
        f'[models."{LITE}"]\naliases = ["nano-banana"]',
        f'models."{LITE}".aliases',
        'has "nano-banana", which is also a name of gemini-2.5-flash-image; rename one of the two.',
    ),
    (
        '[models.m]\naliases = ["gemini-3-pro-image"]',
        "models.m.aliases",
        (
            'has "gemini-3-pro-image", which is also a name of gemini-3-pro-image; '
            "rename one of the two."
        ),
    ),
    (
        '[models.m]\naliases = ["lite"]',
        "models.m.aliases",
        'has "lite", which is also a role; rename one of the two.',
    ),
    (
        '[models.m]\naliases = ["n", "n"]',
        "models.m.aliases",
        'has "n", which is also a name of m; rename one of the two.',
    ),
    (
        "[models.nano-banana-pro]\nretires = 2027-01-01",
        "models.nano-banana-pro",
        'is another name of gemini-3-pro-image; write [models."gemini-3-pro-image"] to change it.',
    ),
    (
        '[models."gemini-3.1-flash-lite-imgae"]\nretires = 2027-01-01',
        'models."gemini-3.1-flash-lite-imgae"',
        f'is no known model; did you mean "{LITE}"? A new model needs its sizes and aspect_ratios.',
    ),
    (
        RATES.replace("0.70", "70"),
        "rates.lite.accept",
        "must be above 0 and at most 1, not 70.",
    ),
    (
        RATES.replace("0.70", "0"),
        "rates.lite.accept",
        "must be above 0 and at most 1, not 0.",
    ),
    (
        RATES.replace("0.08", "-0.01"),
        "rates.lite.regenerate",
        "must be 0 or more, not -0.01.",
    ),
    (
        RATES.replace("50", "0"),
        "rates.lite.slots",
        "should be greater than or equal to 1, not 0.",
    ),
    (
        RATES.replace("lite", "light"),
        "rates.light",
        'names no role or model id; did you mean "lite"?',
    ),
]


@pytest.mark.parametrize(
    ("text", "key", "complaint"),
    REFUSED,
    ids=[f"{key}-{row}" for row, (_, key, _) in enumerate(REFUSED)],
)
def test_a_mistake_is_answered_with_file_key_and_remedy(
    file: Path, text: str, key: str, complaint: str
) -> None:
    with pytest.raises(RegistryError) as caught:
        load(file, text)

    assert str(caught.value) == f"{file}: {key} {complaint}"
    assert caught.value.file == file
    assert caught.value.key == key


def test_broken_toml_is_answered_with_its_line(file: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        load(file, '[roles]\nlite = "x"\nquality = = 3\n')

    assert str(caught.value).startswith(f"{file} is not valid TOML: ")
    assert "at line 3" in str(caught.value)
    assert str(caught.value).endswith("; correct that line and load it again.")
    assert caught.value.key == ""


def test_bottomless_toml_is_refused(file: Path) -> None:
    with pytest.raises(RegistryError, match="is nested too deeply; write plain tables"):
        load(file, "x = " + "[" * 100_000)


def test_a_file_that_is_not_utf_8_is_answered_with_its_line(file: Path) -> None:
    file.write_bytes(b'[roles]\nlite = "caf\xe9"\n')

    with pytest.raises(RegistryError) as caught:
        ModelRegistry.load(file)

    assert str(caught.value) == (
        f"{file} is not UTF-8 (line 2); save it as UTF-8 and load it again."
    )


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    remedy = "give the path of a readable TOML file."

    with pytest.raises(RegistryError) as no_file:
        ModelRegistry.load(missing)
    with pytest.raises(RegistryError) as folder:
        ModelRegistry.load(tmp_path)
    with pytest.raises(RegistryError) as nul:
        ModelRegistry.load("a\0b")

    assert str(no_file.value) == f"{missing} cannot be read (No such file or directory); {remedy}"
    assert str(folder.value) == f"{tmp_path} cannot be read (Is a directory); {remedy}"
    assert "cannot be read (embedded null byte)" in str(nul.value)


def test_a_registry_error_survives_a_process_boundary(file: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        load(file, "role = 1")

    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes

    assert (str(copy), copy.file, copy.key) == (str(caught.value), file, "role")


def test_a_registry_built_by_hand_is_checked_too() -> None:
    models = {"a": Model(id="a", aliases=("x",)), "b": Model(id="b", aliases=("x",))}

    with pytest.raises(
        RegistryError, match=r'models\.b\.aliases has "x", which is also a name of a'
    ):
        ModelRegistry(models=models, roles={})
