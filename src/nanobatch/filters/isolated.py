"""A filter in a process of its own: what crashes or hangs in C does not take the batch with it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch.errors import ConfigError, FilterError
from nanobatch.filters.protocol import (
    AnyFilter,
    as_verdict,
    checked,
    is_async,
    name_of,
    remembers,
    worst_case_usd,
)

if TYPE_CHECKING:
    from typing import Any

    from nanobatch.candidate import Candidate, Verdict

__all__ = ["Isolated"]


@dataclass(frozen=True, slots=True)
class Isolated:
    """Runs another filter in a worker process.

    For filters that lean on native code: a segmentation fault there, or running out of memory,
    counts as a filter that raised, and the image waits in `staging/` for the next run. At its
    deadline the process is killed, also in the middle of a C function, where a thread could only
    be abandoned.

    The filter travels to the worker by pickle, so it must be a class or function of a module (in
    a script: under `if __name__ == "__main__":` as with `multiprocessing`), and it is a fresh copy
    each time: what it keeps in itself is lost. A call costs some milliseconds more, the first one
    in each process the imports as well.

    Raises:
        ConfigError: The filter is async, made of others, remembers accepted images or costs money:
            such filters belong to the process of the run.
    """

    filter: AnyFilter

    name: str = field(default="", init=False, repr=False)
    """The name of the filter inside."""

    def __post_init__(self) -> None:
        """Refuse what cannot leave the process."""
        inner = checked(self.filter)
        if is_async(inner) or remembers(inner) or worst_case_usd(inner):
            raise ConfigError(
                f"Isolated({name_of(inner)}): only a sync filter that neither remembers accepted "
                "images nor costs money can run in a process of its own."
            )
        object.__setattr__(self, "name", name_of(inner))

    async def __call__(self, candidate: Candidate, /) -> Verdict:
        """Return the verdict of the filter inside.

        Raises:
            FilterError: The worker process died; the candidate waits for the next run.
            Exception: What the filter inside raises.
        """
        import anyio.to_process  # noqa: PLC0415 - brings all of multiprocessing: when used

        bare = dataclasses.replace(candidate)  # without what was decoded here
        try:
            return await anyio.to_process.run_sync(_judge, self.filter, bare, cancellable=True)
        except anyio.BrokenWorkerProcess as error:
            raise FilterError(
                "its process died: a crash in native code, or it ran out of memory.",
                filter_name=self.name,
            ) from error


def _judge(filter: AnyFilter, candidate: Candidate) -> Verdict:  # noqa: A002 - the word of this library
    verdict: Any = filter(candidate)
    return as_verdict(verdict, filter_name=name_of(filter))
