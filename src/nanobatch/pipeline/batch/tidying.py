"""The files of a batch job go, here and at the provider, once nobody needs them any more."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from nanobatch.checkpoint.batches import BatchPhase, mark_batch
from nanobatch.checkpoint.disk import disk_errors
from nanobatch.errors import ProviderError, TransientError

if TYPE_CHECKING:
    from nanobatch.backend import BatchBackend, BatchJob
    from nanobatch.checkpoint import Store
    from nanobatch.checkpoint.batches import BatchRow
    from nanobatch.pipeline.control import Control

__all__ = ["Tidier"]

_log = logging.getLogger("nanobatch")


class Tidier:
    """Deletes what one run's batch jobs, and those of earlier runs, leave behind."""

    def __init__(self, backend: BatchBackend, *, store: Store, control: Control) -> None:
        self._backend = backend
        self._store = store
        self._control = control

    async def tidy(self, row: BatchRow, job: BatchJob | None = None) -> None:
        """Delete the files of a job that is collected; what fails now is tried again later.

        Raises:
            RunStopped: The run ends, and calls do not work any more.
        """
        results = self._store.files.results_of(row.name)
        with disk_errors(results.parent, self._store.files.root):
            for file in (results, results.with_name(f"{results.name}.part")):
                await anyio.to_thread.run_sync(partial(file.unlink, missing_ok=True))
        try:
            if job is None:  # collected by a run that was killed
                with self._control.waiting(to_judge=True):
                    job = await self._backend.get_batch(row.job)
            await self.delete(row.input_file)
            await self.delete(job.output_file)
        except TransientError as fault:
            _log.info("The files of %s could not be deleted yet: %s", row.job, fault)
            return
        except ProviderError as fault:
            _log.info("The files of %s could not be deleted: %s", row.job, fault)
        await self._store.commit(lambda db: mark_batch(db, row.number, BatchPhase.ENDED))

    async def delete(self, file: str | None) -> None:
        """Delete a file at the provider; one that is refused for good is left to expire.

        Raises:
            TransientError: Try again later.
            RunStopped: The run ends, and calls do not work any more.
        """
        if not file:
            return
        try:
            with self._control.waiting(to_judge=True):
                await self._backend.delete_file(file)
        except TransientError:
            raise
        except ProviderError as fault:
            _log.info("%s could not be deleted: %s", file, fault)
