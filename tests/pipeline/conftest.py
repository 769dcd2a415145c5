"""Runs the behaviour of a pipeline in both modes: calls at once, and orders from batch jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import by_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH_MODES = frozenset(
    {
        "test_calls_that_end_oddly",
        "test_combined_filters",
        "test_endings",
        "test_filters_that_misbehave",
        "test_jobs_and_config",
        "test_judges",
        "test_near_duplicates",
        "test_routes",
        "test_the_main_job",
    }
)
"""Modules whose tests run twice, but for those marked `at_once`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let the tests of these modules run in both modes."""
    is_at_once = metafunc.definition.get_closest_marker("at_once") is not None
    if Path(metafunc.definition.path).stem in BOTH_MODES and not is_at_once:
        metafunc.parametrize("mode", ["at_once", "by_batch"], indirect=True)


@pytest.fixture(autouse=True)
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """Say whether pipelines of this test order from batch jobs."""
    chosen: str = getattr(request, "param", "at_once")
    token = by_batch.set(chosen == "by_batch")
    yield chosen
    by_batch.reset(token)
