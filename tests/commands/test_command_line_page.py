"""The page about the command line names every command and exactly the keys that they print."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobatch.__main__ import main

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "command-line.md").read_text("utf-8")


def promised(command: str) -> dict[str, set[str]]:
    """Return the keys that the command's section names, by what they are keys of."""
    section = re.split(r"^## ", PAGE.split(f"\n## {command}\n")[1], flags=re.MULTILINE)[0]
    keys = re.findall(r"^Keys(?: of an? ([\w ]+))?: (.*)\.$", section, flags=re.MULTILINE)
    return {what: set(re.findall(r"`(\w+)`", names)) for what, names in keys}


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main([*arguments, "--json"])
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_the_keys_on_the_page_are_those_that_are_printed(
    batch: Path, ordered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = told(capsys, "models")
    estimate = told(capsys, "estimate", "5", "--checkpoint", str(batch))
    status = told(capsys, "status", str(batch))
    waiting = told(capsys, "status", str(ordered))
    verify = told(capsys, "verify", str(batch))
    report = told(capsys, "report", str(batch), str(tmp_path / "x.html"))
    export = told(capsys, "export", str(batch), str(tmp_path / "x.csv"))

    assert promised("models") == {"": set(models), "model": set(models["models"][0])}
    assert promised("estimate") == {"": set(estimate), "forecast": set(estimate["forecasts"][0])}
    assert promised("status") == {
        "": set(status),
        "batch job": set(waiting["batch_jobs"][0]),
        "failure": set(status["failures"][0]),
        "filter": set(status["filters"][0]),
        "ended job": set(status["ended"][0]),
    }
    assert promised("verify") == {"": set(verify)}
    assert promised("report") == {"": set(report)}
    assert promised("export") == {"": set(export)}
    for interval in (status["accept_rate"], estimate["usd_per_accepted_estimate"]):
        assert all(f"`{key}`" in PAGE for key in interval)


def test_every_command_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    main([])

    commands = re.findall(r"^    (\w+) ", capsys.readouterr().err, flags=re.MULTILINE)
    rows = re.findall(r"^\| \[?`(\w+)`", PAGE, flags=re.MULTILINE)
    assert sorted(rows) == sorted(commands)
