"""Where the tests of a checkpoint put it when they make many of them."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.checkpoint.damage import Copies, write_everything

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory if there is one: a kill takes nothing away that was written."""
    base = Path("/dev/shm")  # noqa: S108 - its subfolder is made safely
    if not os.access(base, os.W_OK):
        yield tmp_path_factory.mktemp("memory")
        return
    with TemporaryDirectory(dir=base) as name:
        yield Path(name)


@pytest.fixture
def folder(memory: Path) -> Iterator[Path]:
    """An empty folder in memory, gone after the test."""
    with TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def one_job(memory: Path) -> Copies:
    """Everything there is, once."""
    return Copies(memory / "one", anyio.run(lambda: write_everything(memory / "one", jobs=1)))


@pytest.fixture(scope="session")
def three_jobs(memory: Path) -> Copies:
    """Everything there is, three times."""
    return Copies(memory / "three", anyio.run(lambda: write_everything(memory / "three", jobs=3)))


@pytest.fixture
def run_folder(one_job: Copies, folder: Path) -> Path:
    """A checkpoint of one job, free to be damaged."""
    return one_job.to(folder / "run")
