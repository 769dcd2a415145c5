"""The names other people's programs are written against."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import nanobatch
from nanobatch import errors

PACKAGES = (
    "nanobatch",
    "nanobatch.backend",
    "nanobatch.checkpoint",
    "nanobatch.cost",
    "nanobatch.filters",
    "nanobatch.models",
    "nanobatch.pipeline",
    "nanobatch.policy",
    "nanobatch.report",
    "nanobatch.simulator",
    "nanobatch.testing",
)
CONTRACT = {
    "AcceptedImage",
    "BatchOptions",
    "Budget",
    "Candidate",
    "Checkpoint",
    "Comparison",
    "CostModel",
    "Ended",
    "Estimate",
    "Failure",
    "Forecast",
    "Gemini",
    "ImageBackend",
    "ImageRequest",
    "Job",
    "JobResult",
    "JobStatus",
    "Model",
    "ModelRegistry",
    "Pace",
    "Reply",
    "Retry",
    "Route",
    "RunResult",
    "StopRule",
    "Tier",
    "TwoTierPipeline",
    "Verdict",
    "break_even_accept_rate",
    "compare",
    "filters",
    "read_jobs",
    "two_tier_usd_per_accepted",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_lists_its_names_sorted_and_has_them(package: str) -> None:
    module = importlib.import_module(package)

    assert module.__doc__
    assert list(module.__all__) == sorted(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_names_of_the_contract_are_there() -> None:
    missing = CONTRACT.difference(nanobatch.__all__)

    assert not missing


def test_every_error_is_exported() -> None:
    assert set(errors.__all__) <= set(nanobatch.__all__)


HEAVY = {
    "PIL",
    "aiohttp",
    "anyio.to_process",
    "google.genai",
    "h11",
    "http.client",
    "httpx2",
    "matplotlib",
    "nanobatch.report",
    "nanobatch.simulator",
    "nanobatch.testing",
    "numpy",
    "pybase64",
    "requests",
    "rich",
    "tomlkit",
    "trio",
    "unittest",
    "urllib.request",
}
"""Each takes 5 ms to a second; it is imported by whoever uses it, not by `import nanobatch`."""


def test_importing_nanobatch_imports_nothing_heavy() -> None:
    code = (
        "import sys, nanobatch\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))\n"
        "nanobatch.filters.NotBlank()"
    )

    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert finished.stdout.strip() == "[]"
