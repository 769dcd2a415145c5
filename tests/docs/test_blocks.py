"""Every block of code on a page runs, from the top of the page to its end."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import pytest

from nanobatch import ModelRegistry
from tests.docs.pages import ROOT, Block, blocks, pages

PAGES = pages()
GIVEN = {
    "how-to/resume-and-inspect": "result",
    "how-to/the-article-flow": "jobs pipeline registry",
}
"""What a page takes from the reader's own program; every other page stands for itself."""

OWN_TEST = {
    "explanation/intervals": "tests/cost/test_page.py",
    "how-to/look-at-a-run": "tests/report/test_look_at_a_run_page.py",
    "how-to/tune-a-threshold": "tests/report/test_tuning_page.py",
    "how-to/what-if": "tests/report/test_what_if_page.py",
}
"""Pages whose blocks are run by a test that also compares what they print."""

NOT_RUN = {
    "pip install": "installs from the package index; CI runs the commands of the README",
    "python3.11 -m venv": "as above",
    "uvicorn": "serves until it is stopped; tests/test_web_service.py does just that",
    "curl": "as above",
    "nanobatch simulate": "serves until it is stopped; tests/simulator/test_command.py does so",
    "my_script.py": "the reader's; every block of these pages runs with these two variables",
}
"""Commands that are not run here, by what they contain, and why."""

EXIT_CODES = {
    ("repair-a-checkpoint.md", "nanobatch verify runs/wallpapers"): 1,  # a file is gone
    ("repair-a-checkpoint.md", "nanobatch verify --repair runs/wallpapers"): 1,  # and stays so
}
"""Commands that do not end with 0, by page and by their end, and how they do end."""

PROGRAM = """
from nanobatch import Budget, Gemini, Job, ModelRegistry, TwoTierPipeline

jobs = [Job(id=f"fox-{n}", prompt=f"A fox, view {n}") for n in range(60)]
registry = ModelRegistry.builtin()
pipeline = TwoTierPipeline(Gemini(), checkpoint="runs/own", budget=Budget.unlimited())
result = pipeline.run_sync(jobs[:5])
"""
"""The reader's own program."""

OUTPUT = {"text", ""}
"""Languages of blocks that nobody runs: what a program prints, formulas."""


@pytest.mark.parametrize("name", sorted(PAGES.keys() - OWN_TEST.keys()))
def test_every_block_of_a_page_runs(name: str, desk: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    if name in GIVEN:
        own: dict[str, Any] = {}
        exec(PROGRAM, own)  # noqa: S102 - ours
        names |= {given: own[given] for given in GIVEN[name].split()}
    if name == "how-to/repair-a-checkpoint":
        next((desk / "runs" / "wallpapers" / "images").glob("aurora-*")).unlink()
    found = blocks(PAGES[name])
    read_config(found, desk / "nanobatch.toml")

    printed = ""
    for block in found:
        if block.language == "text" and printed:
            assert_shown(block.text, printed)
        printed = run(block, names, page=PAGES[name])


@pytest.mark.parametrize(("page", "test"), OWN_TEST.items())
def test_a_page_that_has_a_test_of_its_own_is_named_in_it(page: str, test: str) -> None:
    assert f"{Path(page).name}.md" in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "given"), GIVEN.items())
def test_a_page_uses_what_it_takes_from_the_reader(name: str, given: str) -> None:
    code = "\n".join(one.text for one in blocks(PAGES[name]) if one.language == "python")
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}

    assert set(given.split()) <= used


def read_config(found: list[Block], file: Path) -> None:
    """Put the TOML of a page into the reader's file, and see that a registry can be made of it."""
    text = "\n".join(block.text for block in found if block.language == "toml")
    if text:
        file.write_text(text, encoding="utf-8")
        ModelRegistry.load(file)


def run(block: Block, names: dict[str, Any], *, page: Path) -> str:
    """Run one block, by its language; return what it printed."""
    if block.language == "python":
        return run_python(block, names, page=page)
    if block.language == "console":
        return run_commands(block.text, page=page)
    if block.language == "json":
        json.loads(block.text)
    is_directive = block.language.startswith("{")  # Sphinx runs or includes it
    assert is_directive or block.language in {*OUTPUT, "json", "toml"}, f"{page}:{block.line}"
    return ""


def run_python(block: Block, names: dict[str, Any], *, page: Path) -> str:
    """Run a block as a notebook runs a cell: `await` may stand at the top."""
    source = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the page
    code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def cell() -> None:
        await eval(code, names)  # noqa: S307 - our own page

    with redirect_stdout(StringIO()) as printed:
        if code.co_flags & inspect.CO_COROUTINE:
            anyio.run(cell)
        else:
            exec(code, names)  # noqa: S102 - our own page
    return printed.getvalue()


def run_commands(text: str, *, page: Path) -> str:
    """Run the commands of a block; what it shows below one has to be what that one printed.

    A block without a prompt has one command a line and shows nothing.
    """
    prompted = (
        text if text.startswith("$ ") else "".join(f"$ {line}\n" for line in text.splitlines())
    )
    printed = ""
    for part in re.split(r"^\$ ", prompted, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        if any(known in command for known in NOT_RUN):
            continue
        printed = run_command(command, page=page)
        assert_shown(shown, printed)
    return printed


def run_command(command: str, *, page: Path) -> str:
    """Run a command in the folder of the page; return what it printed."""
    codes = [
        EXIT_CODES[name, end]
        for name, end in EXIT_CODES
        if name == page.name and command.endswith(end)
    ]
    [expected] = codes or [0]
    finished = subprocess.run(  # noqa: S602 - our own page, in a shell as the reader's
        command, shell=True, capture_output=True, text=True, check=False, timeout=100
    )
    assert finished.returncode == expected, f"{command}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


def assert_shown(shown: str, printed: str) -> None:
    """Compare what a page shows with what was printed, whatever the figures are."""
    lines = {re.sub(r"[\d.,]+", "0", line.strip()) for line in printed.splitlines()}
    for line in shown.splitlines():
        assert re.sub(r"[\d.,]+", "0", line.strip()) in {*lines, ""}, f"{line}\n---\n{printed}"


def test_commands_that_are_not_run_still_stand_somewhere() -> None:
    lines = [
        (page.name, line)
        for page in PAGES.values()
        for block in blocks(page)
        if block.language == "console"
        for line in block.text.splitlines()
    ]

    assert [part for part in NOT_RUN if not any(part in line for _, line in lines)] == []
    assert [
        one
        for one in EXIT_CODES
        if not any(name == one[0] and line.endswith(one[1]) for name, line in lines)
    ] == []
