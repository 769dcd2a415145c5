"""The page of faults is true: every row has a test, and its table is the one of the library."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from nanobatch.backend.faults import ANSWERS, FAULTS, Action
from nanobatch.backend.translate import fault_of_answer
from nanobatch.errors import AccountError, BadRequestError, ModelGoneError, TransientError
from tests.faults.elsewhere import ELSEWHERE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "faults.md"
GROUPS = {"N": 39, "P": 18, "D": 26, "C": 5, "M": 15, "F": 15, "B": 17}
"""How many rows each group has."""

ERRORS = {
    Action.RETRY: TransientError,
    Action.SLOW_DOWN: TransientError,
    Action.STOP_JOB: BadRequestError,
    Action.STOP_TIER: ModelGoneError,
    Action.STOP_RUN: AccountError,
}


def rows(*, covered: bool) -> list[str]:
    """Return the ids of the page, of its promises or of what it does not promise."""
    promised, _, rest = PAGE.read_text(encoding="utf-8").partition("## Not covered")
    return re.findall(r"^\| ([A-Z]\d+) \|", promised if covered else rest, re.MULTILINE)


def marked() -> set[str]:
    """Return the ids that tests of this folder carry, as a mark or in the row of a table."""
    found: set[str] = set()
    for file in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found |= ids_in(node)
    return found


def ids_in(call: ast.Call) -> set[str]:
    """Return the ids in `pytest.mark.fault("N1", ...)` or in `Case(fault="N1", ...)`."""
    given = list(call.args) if ast.unparse(call.func) == "pytest.mark.fault" else []
    given += [word.value for word in call.keywords if word.arg == "fault"]
    return {
        one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }


def functions_of(file: Path) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def test_every_fault_of_the_matrix_stands_on_the_page_once() -> None:
    wanted = [f"{group}{n}" for group, count in GROUPS.items() for n in range(1, count + 1)]

    assert sorted(rows(covered=True) + rows(covered=False)) == sorted(wanted)


def test_every_promise_of_the_page_has_a_test() -> None:
    promised = set(rows(covered=True))

    assert promised - marked() - ELSEWHERE.keys() == set()


def test_no_test_claims_a_row_that_is_not_promised() -> None:
    assert (marked() | ELSEWHERE.keys()) - set(rows(covered=True)) == set()


def test_the_network_rows_are_proved_here_through_the_whole_pipeline() -> None:
    assert {row for row in rows(covered=True) if row.startswith("N")} - marked() == set()


@pytest.mark.parametrize("test", sorted({test for tests in ELSEWHERE.values() for test in tests}))
def test_a_test_that_is_pointed_to_exists(test: str) -> None:
    file, _, name = test.partition("::")

    assert name in functions_of(ROOT / file)


def test_the_table_on_the_page_is_the_table_of_the_library() -> None:
    text = PAGE.read_text(encoding="utf-8")

    on_the_page = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)

    assert on_the_page == [
        (fault.kind, fault.when, str(fault.action), str(fault.cost)) for fault in FAULTS
    ]


def test_every_error_status_has_one_row_and_the_error_of_its_action() -> None:
    for status in range(300, 600):
        error = fault_of_answer(status, {}, b"")
        row = next(
            row
            for row in ANSWERS
            if row.statuses[0] <= status <= row.statuses[1] and row.kind == error.kind
        )

        assert type(error) is ERRORS[row.action]
        assert not error.is_unknown_money
        if isinstance(error, TransientError):
            assert error.slow_down == (row.action is Action.SLOW_DOWN)
