"""What the commands tell a person and a script, of a real checkpoint and of real configs."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import Checkpoint, CostModel
from nanobatch.__main__ import main
from tests.checkpoint.damage import edit, overwrite
from tests.commands.conftest import HOSTILE
from tests.support import LITE

if TYPE_CHECKING:
    from pathlib import Path

    Capture = pytest.CaptureFixture[str]

# By hand: eight accepted images and six rejected codes are 14 slots; one answer without an image
# was billed and drawn again, so 15 calls. The worst case of the unreadable one: 4,096 tokens at
# USD 30 a million, and "a fox 1" as seven or "a fox 2" as seven tokens at USD 0.25.
UNKNOWN = Decimal("0.122880") + 7 * Decimal("0.00000025")

RATES = """
[rates.lite]
accept = 0.70
regenerate = 0.08
slots = 50
measured_on = 2026-11-23
"""


def answer(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    """Return exit code, output and errors of a command."""
    code = main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def answer_json(capsys: Capture, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = answer(capsys, *arguments, "--json")
    return code, json.loads(out)


def test_status_tells_a_person_how_a_batch_stands(batch: Path, capsys: Capture) -> None:
    code, out, _ = answer(capsys, "status", str(batch))

    shown = " ".join(out.split())
    assert code == 0
    assert f"{batch}: 4 done, 1 stopped" in out
    assert "Slots 14 Billed calls 15 Accepted 8 Delivered of wanted 8 of 9" in shown
    assert "Fill rate 88.9 %" in shown
    assert "Accept rate 57.1 % (32.6 to 78.6 %, 95 %, n = 14)" in shown
    assert "Unknown USD, at most 0.1229" in shown
    assert "empty 1 0.0000" in shown
    assert "no_codes 14 6 42.9 % 0.00" in shown
    assert r"qr\x1b[2J\ncode: stopped, 0 of 1. 0 of 6 candidates passed, wanted: 1." in out
    assert "\x1b" not in out


def test_status_tells_a_script_the_same_in_exact_figures(batch: Path, capsys: Capture) -> None:
    code, told = answer_json(capsys, "status", str(batch))

    assert code == 0
    assert told["jobs"] == {"done": 4, "stopped": 1}
    counts = ("wanted", "delivered", "slots", "calls", "accepted", "in_flight")
    assert [told[name] for name in counts] == [9, 8, 14, 15, 8, 0]
    assert Decimal(told["unknown_usd"]) == UNKNOWN
    with Checkpoint.read(batch) as checkpoint:
        spend = checkpoint.spend
    assert Decimal(told["confirmed_usd"]) == spend.confirmed_usd > 0
    assert Decimal(told["usd_per_accepted"]) == spend.confirmed_usd / 8
    assert told["usd_per_accepted_estimate"]["slots"] == 14
    assert [(one["kind"], one["times"]) for one in told["failures"]] == [
        ("empty", 1),
        ("unreadable", 1),
    ]
    [figures] = told["filters"]
    assert (figures["name"], figures["asked"], figures["rejected"]) == ("no_codes", 14, 6)
    [stopped] = told["ended"]
    assert (stopped["id"], stopped["want"], stopped["images"]) == (HOSTILE, 1, 0)


def test_estimate_takes_the_rates_of_a_checkpoint(batch: Path, capsys: Capture) -> None:
    with Checkpoint.read(batch) as checkpoint:
        model = checkpoint.cost_model()
        animals = checkpoint.cost_model(tag="animals")

    code, told = answer_json(capsys, "estimate", "100", "300", "--checkpoint", str(batch))
    _, of_tag = answer_json(
        capsys, "estimate", "100", "--checkpoint", str(batch), "--tag", "animals"
    )

    assert code == 0
    assert told["is_measured"] is True
    assert [one["images"] for one in told["forecasts"]] == [100, 300]
    assert model.usd_per_accepted is not None
    assert Decimal(told["forecasts"][1]["usd"]) == pytest.approx(300 * model.usd_per_accepted)
    assert Decimal(told["forecasts"][0]["low_usd"]) < Decimal(told["forecasts"][0]["usd"])
    assert Decimal(of_tag["accept_rate"]) == animals.accept_rate == 1


def test_estimate_takes_the_rates_of_a_config_or_those_it_is_told(
    tmp_path: Path, capsys: Capture
) -> None:
    config = tmp_path / "nanobatch.toml"
    config.write_text(RATES, encoding="utf-8")

    _, measured = answer_json(capsys, "estimate", "1000", "--config", str(config))
    _, by_hand = answer_json(capsys, "estimate", "1000", "--accept", "0.70", "--regenerate", "0.08")
    _, in_batch = answer_json(capsys, "estimate", "1000", "--config", str(config), "--batch")
    code, out, _ = answer(capsys, "estimate", "1000", "--config", str(config))

    # 1,120 tokens at USD 30 a million are 0.0336; times 1.08 over 0.70 that is 0.05184 an image.
    assert Decimal(measured["forecasts"][0]["usd"]) == Decimal("51.84")
    assert Decimal(by_hand["forecasts"][0]["usd"]) == Decimal("51.84")
    assert Decimal(in_batch["forecasts"][0]["usd"]) == Decimal("25.92")
    assert (measured["is_measured"], by_hand["is_measured"]) == (True, False)
    assert Decimal(measured["forecasts"][0]["high_usd"]) > Decimal(
        by_hand["forecasts"][0]["high_usd"]
    )
    assert code == 0
    assert " 1,000  51.84" in out
    assert "The rates rest on 50 slots." in out


def test_estimate_cannot_know_before_anything_was_accepted(
    batch: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(batch, tmp_path / "run")
    edit(tmp_path / "run", "UPDATE slots SET state = 'rejected'")

    code, told = answer_json(capsys, "estimate", "10", "--checkpoint", str(tmp_path / "run"))
    also, out, _ = answer(capsys, "estimate", "10", "--checkpoint", str(tmp_path / "run"))

    assert (code, also) == (1, 1)
    assert told["usd_per_accepted"] is None
    assert told["forecasts"][0]["usd"] is None
    assert "unknown" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["10"], "No rates have been measured for 'lite': add --accept RATE, or"),
        (["10", "--accept", "1.5"], "accept_rate is '1.5'; it must be a number greater than 0"),
        (["--accept", "1", "--", "-5"], "wants"),
        (["10", "--accept", "1", "--role", "heavy"], "heavy"),
        (["10", "--accept", "1", "--size", "9K"], "9K"),
        (["10", "--tier", "lite"], "--tier and --tag choose slots of a checkpoint"),
        (["10", "--checkpoint", ".", "--accept", "1"], "--checkpoint brings its own rates"),
    ],
)
def test_estimate_says_in_a_line_what_it_cannot_do(
    capsys: Capture, arguments: list[str], sentence: str
) -> None:
    code, out, error = answer(capsys, "estimate", *arguments)

    assert code == 2
    assert out == ""
    assert error.startswith("nanobatch estimate: ")
    assert sentence in error
    assert error.count("\n") == 1


def test_models_lists_roles_first_with_their_prices(capsys: Capture) -> None:
    code, out, _ = answer(capsys, "models")
    _, told = answer_json(capsys, "models", "--size", "1K")

    lite = next(line for line in out.splitlines() if LITE in line)
    assert code == 0
    assert lite.split()[:4] == ["lite", LITE, "0.0336", "0.0168"]
    [described] = [one for one in told["models"] if one["id"] == LITE]
    assert described["roles"] == ["lite"]
    assert described["usd_per_image"] == "0.0336"
    assert described["is_retired"] is False
    roles = [bool(one["roles"]) for one in told["models"]]
    assert roles == sorted(roles, reverse=True)
    assert not any(one["is_retired"] for one in told["models"])
    _, everything = answer_json(capsys, "models", "--all")
    assert len(everything["models"]) > len(told["models"])


def test_models_finds_a_role_whose_model_is_switched_off_soon(
    tmp_path: Path, capsys: Capture
) -> None:
    in_30_days = datetime.now(UTC).date() + timedelta(days=30)
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        f'{RATES}\n[models."{LITE}"]\nretires = {in_30_days}\nreplacement = "gemini-next"\n',
        encoding="utf-8",
    )

    code, out, _ = answer(capsys, "models", "--config", str(config))
    also, told = answer_json(capsys, "models", "--config", str(config))

    assert (code, also) == (1, 1)
    assert f"{LITE} (lite) is switched off on {in_30_days}: switch to gemini-next." in out
    assert "lite, measured on 2026-11-23: USD 0.0518 (" in out
    assert told["act_on"] == [LITE]
    assert Decimal(told["rates"]["lite"]["accept"]) == Decimal("0.70")


def test_export_writes_the_manifest_and_says_how_many(
    batch: Path, tmp_path: Path, capsys: Capture
) -> None:
    code, out, _ = answer(capsys, "export", str(batch), str(tmp_path / "images.csv"))

    with (tmp_path / "images.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert code == 0
    assert out == f"Wrote 8 images to {tmp_path / 'images.csv'}.\n"
    assert len(rows) == 8
    assert {row["job_id"] for row in rows} == {f"fox-{n}" for n in range(4)}
    code, told = answer_json(capsys, "export", str(batch), str(tmp_path / "images.jsonl"))
    assert (code, told["images"]) == (0, 8)


def test_report_writes_the_page_beside_the_folder_or_where_it_is_told(
    batch: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(batch, tmp_path / "run")

    code, out, _ = answer(capsys, "report", str(tmp_path / "run"), "--title", "Foxes & codes")
    also, told = answer_json(
        capsys, "report", str(tmp_path / "run"), str(tmp_path / "x.html"), "--thumbnails", "beside"
    )

    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert (code, also) == (0, 0)
    assert out == f"Open {tmp_path / 'run.html'} in a browser.\n"
    assert "Foxes &amp; codes" in page
    assert "fox-3" in page
    assert told == {
        "file": str(tmp_path / "x.html"),
        "url": (tmp_path / "x.html").as_uri(),
    }
    assert (tmp_path / "x-thumbnails").is_dir()


@pytest.mark.parametrize("command", ["status", "export", "verify", "report"])
def test_a_folder_without_a_checkpoint_is_one_line(
    tmp_path: Path, capsys: Capture, command: str
) -> None:
    more = [str(tmp_path / "images.csv")] if command == "export" else []

    code, out, error = answer(capsys, command, str(tmp_path / "nowhere"), *more)
    also, told = answer_json(capsys, command, str(tmp_path / "nowhere"), *more)

    assert (code, also) == (2, 2)
    assert out == ""
    assert "there is no ledger.sqlite" in error
    assert error.count("\n") == 1
    assert "there is no ledger.sqlite" in told["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["status", "estimate", "export"])
def test_a_destroyed_or_strange_database_is_one_line(
    batch: Path, tmp_path: Path, capsys: Capture, command: str
) -> None:
    shutil.copytree(batch, tmp_path / "run")
    overwrite(tmp_path / "run", 1, b"\0")
    arguments = {
        "status": [str(tmp_path / "run")],
        "estimate": ["5", "--checkpoint", str(tmp_path / "run")],
        "export": [str(tmp_path / "run"), str(tmp_path / "images.csv")],
    }[command]

    code, out, error = answer(capsys, command, *arguments)

    assert code == 2
    assert out == ""
    assert error.count("\n") == 1
    assert "nanobatch verify --repair" in error


def test_a_config_that_cannot_be_used_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "nanobatch.toml"
    config.write_text("[rolls]\nlite = 'x'\n", encoding="utf-8")

    code, _, error = answer(capsys, "models", "--config", str(config))

    assert code == 2
    assert "rolls" in error
    assert error.count("\n") == 1


def test_a_model_without_an_interval_is_no_reason_to_fail(capsys: Capture) -> None:
    _, told = answer_json(capsys, "estimate", "7", "--accept", "1", "--role", "quality")

    by_hand = CostModel(usd_per_call="0.0336", regeneration_rate=0, accept_rate=1)
    assert told["usd_per_accepted_estimate"] is None
    assert Decimal(told["forecasts"][0]["usd"]) == by_hand.total_usd(7)
