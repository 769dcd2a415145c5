"""`python -m nanobatch`: names its commands and hands over to them."""

from __future__ import annotations

import pytest

from nanobatch.__main__ import main


def test_without_a_command_it_explains_itself_and_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main([])

    error = capsys.readouterr().err
    assert code == 2
    assert "demo" in error
    assert "simulate" in error
    assert "verify" in error


def test_help_has_a_line_for_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "demo make a batch of wallpapers" in shown
    assert "simulate serve a local Gemini" in shown
    assert "verify check a checkpoint, and repair what can be repaired" in shown


def test_an_unknown_command_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["paint"])

    assert ended.value.code == 2
    assert "invalid choice: 'paint'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option"),
    [("demo", "--concurrency N"), ("simulate", "--accept-rate"), ("verify", "--forget-missing")],
)
def test_options_go_to_the_command(
    capsys: pytest.CaptureFixture[str], command: str, option: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert option in capsys.readouterr().out


def test_an_exit_code_of_a_command_is_handed_back(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["simulate", "--accept-rate", "2"])

    assert code == 2
    assert "accept_rate must be between 0 and 1" in capsys.readouterr().err


def test_every_command_says_what_it_does_and_what_its_exit_codes_mean(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("models", "estimate", "status", "verify", "report", "export", "simulate"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])

        shown = " ".join(capsys.readouterr().out.split())
        assert ended.value.code == 0
        assert f"usage: nanobatch {command} " in shown
        assert "Exit code: 0 " in shown
        assert "--json" in shown
