"""What the pages name exists, what they cite is so, and the notebook of the examples runs."""

from __future__ import annotations

import importlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

import nanobatch
from nanobatch import cost, filters, policy, report, simulator, testing
from nanobatch.simulator import answers
from tests.docs.pages import DOCS, ROOT, Block, pages, prose
from tests.docs.test_blocks import run_python

if TYPE_CHECKING:
    from pathlib import Path

PAGES = pages()
PACKAGES = (nanobatch, filters, report, simulator, testing, cost, policy, answers)
ROOTS: dict[str, object] = {
    "answers": answers,
    "calibration": nanobatch.Calibration,
    "candidate": nanobatch.Candidate,
    "checkpoint": nanobatch.Checkpoint,
    "filters": filters,
    "nanobatch": nanobatch,
    "outcome": report.Replay,
    "pipeline": nanobatch.TwoTierPipeline,
    "registry": nanobatch.ModelRegistry,
    "result": nanobatch.RunResult,
    "simulator": simulator.Simulator(),
}
"""What a word before a dot stands for in the prose."""

FOREIGN = {"Decimal", "None", "RetryInfo", "ValueError"}
"""Names with a capital that are not ours."""

FILES = {"nanobatch.progress", "nanobatch.toml"}
"""What looks like an attribute and is a logger or a file."""


def named(page: Path) -> set[str]:
    """Return what the code spans of a page begin with: `StopRule.fit`, `result.spend`."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))
    found = (re.match(r"([A-Za-z]\w*(?:\.\w+)*)(?:$|[(\[=])", span) for span in spans)
    return {match[1] for match in found if match} - FILES


def has(owner: object, name: str) -> bool:
    """Return whether it has the attribute, as a class, a module or a dataclass with a field."""
    fields = getattr(owner, "__dataclass_fields__", {}), getattr(owner, "model_fields", {})
    return hasattr(owner, name) or any(name in known for known in fields)


@pytest.mark.parametrize("name", PAGES)
def test_every_name_on_a_page_exists(name: str) -> None:
    unknown = set()
    for one in named(PAGES[name]):
        first, *rest = one.split(".")
        if re.match(r"[A-Z][a-z]+\w*$", first) and first not in FOREIGN:
            owners = [getattr(package, first) for package in PACKAGES if hasattr(package, first)]
        elif rest and first in ROOTS:
            owners = [ROOTS[first]]
        else:
            continue
        if not owners or not all(has(owners[0], attribute) for attribute in rest[:1]):
            unknown.add(one)

    assert unknown == set()


@pytest.mark.parametrize(
    "page", [*PAGES.values(), ROOT / "CHANGELOG.md"], ids=lambda page: page.stem
)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)(?:#[^)]*)?\)", prose(page))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "package",
    [
        "nanobatch",
        "nanobatch.filters",
        "nanobatch.report",
        "nanobatch.simulator",
        "nanobatch.testing",
    ],
)
def test_the_list_of_names_is_complete(package: str) -> None:
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    sections = re.findall(r"currentmodule:: (\S+)\n((?:.*\n)*?)```", page)
    listed = {
        name
        for module, section in sections
        if module == package
        for name in re.findall(r"^   (\w+)$", section, re.MULTILINE)
    }

    assert listed == set(importlib.import_module(package).__all__) - {
        "answers",
        "batch",
        "filters",
    }  # packages


def test_the_figures_of_the_comparison_are_those_of_the_benchmark() -> None:
    page = (DOCS / "explanation" / "what-others-do.md").read_text(encoding="utf-8")
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    figures = re.findall(r"\d+ \(\d+ to \d+\)", page)

    assert len(figures) == 4
    assert [figure for figure in figures if f"| {figure} |" not in results] == []


def test_the_notebook_of_the_examples_runs(desk: Path) -> None:
    path = ROOT / "examples" / "notebook.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, Any] = {"__name__": "__main__"}

    for number, cell in enumerate(code, 1):
        block = Block(language="python", text="".join(cell["source"]), line=number)
        run_python(block, names, page=path)

    assert [cell for cell in code if cell["outputs"]] == []
    assert list((desk / "runs" / "notebook" / "images").iterdir())
