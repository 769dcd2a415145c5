"""What these tests share: the marker that names a row of docs/reference/faults.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.backend.conftest import environment, one_certificate

if TYPE_CHECKING:
    import pytest

__all__ = ["environment", "one_certificate"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "fault(*ids): the test proves these rows of docs/reference/faults.md"
    )
