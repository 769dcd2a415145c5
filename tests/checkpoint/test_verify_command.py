"""`python -m nanobatch verify`: what a person sees, and what a script gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nanobatch.__main__ import main
from nanobatch.checkpoint import Checkpoint
from tests.checkpoint.damage import edit, overwrite

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_clean_checkpoint_is_0(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["verify", str(run_folder)])

    assert code == 0
    assert capsys.readouterr().out == (
        f"Checked {run_folder}: 3 accepted and 3 staged images.\n\nEverything is as it should be.\n"
    )


def test_findings_are_1_and_nothing_is_changed(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "images" / "job 0-1.png").rename(run_folder / "elsewhere.png")

    code = main(["verify", str(run_folder)])

    shown = capsys.readouterr().out
    assert code == 1
    assert "Wrong:\n  images/job 0-1.png cannot be read: No such file or directory.\n" in shown
    assert "`--repair` puts right what can be; it deletes nothing. Copy the folder first." in shown
    assert (run_folder / "elsewhere.png").is_file()


def test_a_repair_says_what_it_did(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_folder / "images" / "job 0-1.png").rename(run_folder / "elsewhere.png")

    code = main(["verify", "--repair", str(run_folder)])

    assert code == 0
    assert capsys.readouterr().out == (
        f"Checked {run_folder}: 3 accepted and 3 staged images.\n\n"
        "Done:\n  images/job 0-1.png is back; its bytes were in elsewhere.png.\n\n"
        "Everything is as it should be.\n"
    )


def test_what_cannot_be_repaired_is_1_and_can_be_given_up(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "images" / "job 0-1.png").unlink()

    repaired = main(["verify", str(run_folder), "--repair"])
    shown = capsys.readouterr().out
    given_up = main(["verify", str(run_folder), "--forget-missing"])

    assert (repaired, given_up) == (1, 0)
    assert "This could not be repaired. Put missing files back anywhere in the folder" in shown
    assert "images/job 0-1.png is given up." in capsys.readouterr().out


def test_a_script_gets_one_json_object(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(run_folder, "UPDATE jobs SET want = 2")

    code = main(["verify", "--json", str(run_folder)])
    found = json.loads(capsys.readouterr().out)
    repaired = main(["verify", "--json", "--repair", str(run_folder)])

    assert (code, repaired) == (1, 0)
    assert found == {
        "is_clean": False,
        "images": 3,
        "staged": 3,
        "done": [],
        "faults": ["Job 'job 0' wants 2; the ledger says 3."],
    }
    assert json.loads(capsys.readouterr().out)["done"] == [
        "Put right: Job 'job 0' wants 2; the ledger says 3."
    ]


def test_what_cannot_be_read_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = [
        main(["verify", str(tmp_path / "nowhere")]),
        main(["verify", "--repair", str(tmp_path / "nowhere")]),
        main(["verify", "--json", str(tmp_path / "nowhere")]),
    ]

    output = capsys.readouterr()
    assert codes == [2, 2, 2]
    assert "there is no ledger.sqlite" in output.err
    assert "there is no ledger.sqlite" in json.loads(output.out)["error"]
    assert not (tmp_path / "nowhere").exists()


def test_a_destroyed_database_is_2_and_its_cure_works(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overwrite(run_folder, 1, b"\0")

    code = main(["verify", str(run_folder)])
    advice = capsys.readouterr().err
    cured = main(["verify", "--repair", str(run_folder)])

    assert (code, cured) == (2, 0)
    assert f"`nanobatch verify --repair {run_folder}`" in advice
    with Checkpoint.read(run_folder) as reader:
        assert len(list(reader.images())) == 3


def test_a_hostile_name_does_not_reach_the_terminal(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "images" / "\x1b[2Jgone\n.png").write_bytes(b"")

    main(["verify", str(run_folder)])

    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert r"images/\x1b[2Jgone\n.png is in no row of the ledger." in shown
