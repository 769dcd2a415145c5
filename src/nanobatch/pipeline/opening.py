"""Whoever opens a backend closes it: handed over unopened, it is open for as long as it is used."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["opened"]


@runtime_checkable
class _Openable(Protocol):
    """A backend that has to be opened."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *error: object) -> bool | None: ...


_runs_on: Counter[int] = Counter()
"""Runs that use a backend which the first of them opened, by identity: the last one closes it."""


@asynccontextmanager
async def opened(backend: object) -> AsyncGenerator[None]:
    """Open a backend that was handed over unopened, and close it after its last run."""
    is_ours = id(backend) in _runs_on or not getattr(backend, "is_open", False)
    if not (isinstance(backend, _Openable) and is_ours):
        yield
        return
    _runs_on[id(backend)] += 1
    try:
        await backend.__aenter__()  # a second time does nothing to one that is open
        yield
    finally:
        _runs_on[id(backend)] -= 1
        if not _runs_on[id(backend)]:
            del _runs_on[id(backend)]
            await backend.__aexit__(None, None, None)
