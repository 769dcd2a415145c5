"""What these tests share with those of the backend."""

from __future__ import annotations

from tests.backend.conftest import environment, one_certificate

__all__ = ["environment", "one_certificate"]
