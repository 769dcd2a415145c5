from __future__ import annotations

import stat
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from nanobatch import CostModel, MeasuredRates, ModelRegistry, RegistryError
from nanobatch.cost import LedgerTotals

if TYPE_CHECKING:
    from pathlib import Path

LITE = "gemini-3.1-flash-lite-image"
RATES = MeasuredRates(
    accept=Decimal("0.62"), regenerate=Decimal("0.04"), slots=50, measured_on=date(2026, 11, 27)
)
CONFIG = """\
# What we pay for.
[roles]  # one line to change
lite = "gemini-3.1-flash-lite-image"

[rates.lite]  # October, 50 wallpapers
accept = 0.70
regenerate = 0.08  # high!
slots = 50
measured_on = 2026-10-23

[rates.quality]
accept = 0.95
regenerate = 0
slots = 20
measured_on = 2026-10-23
# the end
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "nanobatch.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


def test_new_rates_take_the_place_of_old_ones_and_nothing_else_changes(file: Path) -> None:
    ModelRegistry.load(file).save_rates({"lite": RATES})

    assert file.read_text(encoding="utf-8") == CONFIG.replace(
        "accept = 0.70\nregenerate = 0.08  # high!\nslots = 50\nmeasured_on = 2026-10-23\n",
        "accept = 0.62\nregenerate = 0.04  # high!\nslots = 50\nmeasured_on = 2026-11-27\n",
    )


def test_the_registry_that_comes_back_knows_them_and_so_does_the_file(file: Path) -> None:
    registry = ModelRegistry.load(file)

    saved = registry.save_rates({"lite": RATES})

    assert saved.rates["lite"] == RATES == ModelRegistry.load(file).rates["lite"]
    assert saved.rates["quality"] == registry.rates["quality"]
    assert registry.rates["lite"].accept == Decimal("0.70")  # it was not changed itself
    cost = CostModel.from_registry(saved, "lite")
    assert (
        cost.usd_per_accepted
        == CostModel(
            usd_per_call=saved["lite"].usd_per_image(), regeneration_rate="0.04", accept_rate="0.62"
        ).usd_per_accepted
    )


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"

    saved = ModelRegistry.builtin().save_rates({"lite": RATES, LITE: RATES}, file)

    assert saved.file == file
    assert dict(ModelRegistry.load(file).rates) == {"lite": RATES, LITE: RATES}
    assert not stat.S_IMODE(file.stat().st_mode) & stat.S_IXUSR
    assert [path.name for path in tmp_path.iterdir()] == ["new.toml"]


def test_line_ends_mode_and_link_of_the_file_stay(tmp_path: Path, file: Path) -> None:
    file.write_bytes(CONFIG.replace("\n", "\r\n").encode())
    file.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(file)

    ModelRegistry.load(link).save_rates({"lite": RATES})

    changed = file.read_bytes()
    assert changed.count(b"\n") == changed.count(b"\r\n") == CONFIG.count("\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()


def test_rates_come_from_a_ledger_with_todays_date_or_the_one_given(file: Path) -> None:
    totals = LedgerTotals(slots=51, calls=53, accepted=34, generation_usd=Decimal("1.80"))
    cost = CostModel.from_totals(totals)

    saved = ModelRegistry.load(file).save_rates({"lite": cost}, measured_on=date(2026, 11, 2))

    assert saved.rates["lite"].slots == 51
    assert "accept = 0.666667\nregenerate = 0.0392157" in file.read_text(encoding="utf-8")
    assert ModelRegistry.load(file).rates["lite"].measured_on == date(2026, 11, 2)


def test_rates_written_in_one_line_are_changed_there(file: Path) -> None:
    line = "rates = { lite = {accept = 0.5, regenerate = 0, slots = 3, measured_on = 2026-01-01} }"
    file.write_text(f"{line}\n", encoding="utf-8")

    ModelRegistry.load(file).save_rates({"lite": RATES, "quality": RATES})

    assert dict(ModelRegistry.load(file).rates) == {"lite": RATES, "quality": RATES}
    assert file.read_text(encoding="utf-8").count("\n") == 1


NOTHING_ACCEPTED = CostModel.from_totals(LedgerTotals(slots=30, calls=30))
BY_HAND = CostModel(usd_per_call="0.03", regeneration_rate=0, accept_rate=1)
IMPOSSIBLE = MeasuredRates(
    accept=Decimal("1.5"), regenerate=Decimal(0), slots=1, measured_on=date(2026, 1, 1)
)


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ({"lite": NOTHING_ACCEPTED}, "rates.lite cannot be set: nothing was accepted in 30 slots"),
        ({"lite": BY_HAND}, "rates.lite cannot be set: nothing was accepted in no slots"),
        ({"lite": IMPOSSIBLE}, "rates.lite.accept must be above 0 and at most 1, not 1.5"),
        ({"lte": RATES}, 'rates.lte names no role or model id; did you mean "lite"?'),
    ],
)
def test_what_cannot_be_a_rate_is_refused_and_the_file_stays(
    file: Path, rates: dict[str, MeasuredRates | CostModel], says: str
) -> None:
    with pytest.raises(RegistryError) as caught:
        ModelRegistry.load(file).save_rates(rates)

    assert says in str(caught.value)
    assert file.read_text(encoding="utf-8") == CONFIG


def test_without_a_file_it_says_how_to_name_one() -> None:
    with pytest.raises(RegistryError, match=r"say where the rates go.*path='nanobatch.toml'"):
        ModelRegistry.builtin().save_rates({"lite": RATES})


def test_a_file_that_cannot_be_written_is_named_and_keeps_what_it_had(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        ModelRegistry.builtin().save_rates({"lite": RATES}, tmp_path / "missing" / "rates.toml")

    assert "rates.toml cannot be written (No such file or directory)" in str(caught.value)
    assert not (tmp_path / "missing").exists()


def test_rates_in_a_form_that_cannot_be_changed_are_left_alone(file: Path) -> None:
    dotted = (
        "rates.lite.accept = 0.5\nrates.lite.regenerate = 0\nrates.lite.slots = 3\n"
        'rates.lite.measured_on = 2026-01-01\n\n[roles]\nlite = "gemini-3.1-flash-lite-image"\n'
    )
    file.write_text(dotted, encoding="utf-8")
    registry = ModelRegistry.load(file)

    with pytest.raises(RegistryError, match=r"rates cannot be changed where it stands; write it"):
        registry.save_rates({"lite": RATES, "quality": RATES})

    assert file.read_text(encoding="utf-8") == dotted
