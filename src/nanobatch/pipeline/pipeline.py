"""The pipeline: jobs in, accepted images out, at a cost that is measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio

from nanobatch import filters as built_in
from nanobatch.checkpoint import Checkpoint
from nanobatch.checkpoint.schema import DATABASE
from nanobatch.cost.exact import read_count
from nanobatch.cost.model import MAX_IMAGES
from nanobatch.errors import ConfigError, ModelRetiringWarning
from nanobatch.filters.protocol import checked
from nanobatch.job import Job, Route
from nanobatch.models import ModelRegistry, Tier
from nanobatch.pipeline.calibration import Calibration, calibration_of
from nanobatch.pipeline.chosen import Chosen, jobs_to_finish
from nanobatch.pipeline.control import Control
from nanobatch.pipeline.events import RunEnded
from nanobatch.pipeline.forecast import forecast
from nanobatch.pipeline.intake import checked_job, checked_jobs
from nanobatch.pipeline.listening import (
    Room,
    UnreadEvents,
    no_wait,
)
from nanobatch.pipeline.opening import opened
from nanobatch.pipeline.options import KeepRejected, Options
from nanobatch.pipeline.plan import Plan, priors_of
from nanobatch.pipeline.quota import SlotQuota
from nanobatch.pipeline.run import Run
from nanobatch.pipeline.sync import run_until_signalled
from nanobatch.pipeline.watching import Audience, Watcher
from nanobatch.policy import BatchOptions, Budget, Pace, Retry, StopRule

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator

    from nanobatch.backend import ImageBackend
    from nanobatch.candidate import AcceptedImage
    from nanobatch.checkpoint import CheckpointReader
    from nanobatch.cost import Forecast
    from nanobatch.filters import AnyFilter
    from nanobatch.models import Model
    from nanobatch.pipeline.events import Event
    from nanobatch.pipeline.intake import Jobs
    from nanobatch.pipeline.result import RunResult

__all__ = ["TwoTierPipeline"]


class TwoTierPipeline:
    """Generates candidates, culls them, saves what passes, and knows what each image costs.

    A pipeline is a recipe: it may run any number of times, one run at a time per checkpoint.

    Args:
        backend: Where the calls go. Handed over unopened it is opened for each run and closed
            after it; handed over open it stays open.
        registry: The models; the built-in ones if not given.
        lite: Role, id or alias of the cheap tier's model, or a `Model`.
        quality: The same for the quality tier; without it every job takes the route `lite`.
        filters: What a candidate has to pass, in this order; `filters.default()` if not given.
        finish_filters: What a finished image has to pass; the same as `filters` if not given.
        checkpoint: A folder, or an open `Checkpoint`.
        budget: The most the checkpoint may ever cost: `Budget(usd=...)` or `Budget.unlimited()`.
        route: The route of jobs that name none; by default `auto`, or `lite` without a quality
            tier.
        concurrency: Most requests in flight, 1 to 10,000.
        retry: How transient faults are tried again.
        stop: When a prompt, or the batch, has had enough.
        pace: Limits of the account to keep below, in USD per ten minutes and images per minute.
        batch: Whether the provider's batch service draws the images: half the price, hours
            instead of seconds. `calibrate` draws at once all the same.
        keep_rejected: What is kept of rejected images: `"thumbnail"`, `"all"` or `"none"`.
        finish_fallback: Whether the draft is delivered when its finish is rejected.
        filter_timeout_seconds: Deadline of one filter on one candidate, > 0.
        hurry: Whether workers that nothing is left for may draw candidates that a job needs only
            if others fail: a little faster at the end, at a few calls that turn out to be surplus.

    Raises:
        ConfigError: Something cannot be meant; the message says what and what to do.
        ModelRetiredError: A model is switched off; the replacement is named.
    """

    def __init__(
        self,
        backend: ImageBackend,
        *,
        registry: ModelRegistry | None = None,
        lite: str | Model = "lite",
        quality: str | Model | None = None,
        filters: Sequence[AnyFilter] | None = None,
        finish_filters: Sequence[AnyFilter] | None = None,
        checkpoint: Checkpoint | str | Path,
        budget: Budget | None = None,
        route: Route | str | None = None,
        concurrency: int = 16,
        retry: Retry | None = None,
        stop: StopRule | None = None,
        pace: Pace | None = None,
        batch: BatchOptions | None = None,
        keep_rejected: KeepRejected = "thumbnail",
        finish_fallback: bool = False,
        filter_timeout_seconds: float = 60.0,
        hurry: bool = False,
    ) -> None:
        if budget is None:
            raise ConfigError(
                "A pipeline needs a budget: pass budget=Budget(usd='25.00'), or "
                "budget=Budget.unlimited() to spend without a cap."
            )
        self._registry = _registry(registry)
        models = {Tier.LITE: self._registry.usable(lite)}
        if quality is not None:
            models[Tier.QUALITY] = self._registry.usable(quality)
        default_route = Route.LITE if quality is None else Route.AUTO
        chosen = built_in.default() if filters is None else _filters(filters)
        self._options = Options(
            backend=backend,
            registry=self._registry,
            plan=Plan(
                models=models,
                default_route=default_route if route is None else _route(route),
                filters=chosen,
                finish_filters=chosen if finish_filters is None else _filters(finish_filters),
                priors=priors_of(models, self._registry),
            ),
            checkpoint=checkpoint
            if isinstance(checkpoint, Checkpoint)
            else Path(checkpoint).absolute(),
            budget=budget,
            concurrency=concurrency,
            retry=Retry() if retry is None else retry,
            stop=StopRule() if stop is None else stop,
            pace=Pace() if pace is None else pace,
            keep_rejected=keep_rejected,
            finish_fallback=finish_fallback,
            filter_timeout_seconds=filter_timeout_seconds,
            hurry=hurry,
            batch=batch,
        )

        self._told: dict[Path, int] = {}

    def __repr__(self) -> str:
        """Show its models, where it writes and what it may spend."""
        models = ", ".join(f"{t}={m.id!r}" for t, m in self._options.plan.models.items())
        checkpoint = self._options.checkpoint
        where = checkpoint.root if isinstance(checkpoint, Checkpoint) else checkpoint
        return (
            f"TwoTierPipeline({models}, checkpoint={str(where)!r}, budget={self._options.budget})"
        )

    async def run(self, jobs: Jobs, progress: Watcher = None) -> RunResult:
        """Work on the jobs until all are settled or something ends the run.

        Cancelling saves what is in flight for up to 30 seconds and is then raised again; running
        the same jobs again goes on where this run ended.

        Args:
            jobs: Any iterable or async iterable of `Job`, read lazily.
            progress: Who watches. `None`: whoever reads this notebook or this terminal, or the
                log `nanobatch.progress` if it takes INFO (a line a minute). `True`: the same, and
                standard error if there is nobody. `False`: nobody. A function is told every
                event, an object with a method `show(snapshot)` is a `Display`.

        Raises:
            ConfigError: The caller's error: a job no model can make, two jobs with one id, ...
            JobChangedError: A job differs from the one whose images are accepted already.
            FilterError: A filter failed ten times in a row.
            CheckpointError: The disk refused, or another process is writing.
        """
        return await self._run(_of(jobs), Control(), progress)

    def run_sync(self, jobs: Jobs, progress: Watcher = None) -> RunResult:
        """Do the same from code without an event loop.

        Ctrl-C and SIGTERM end the run as `cancelled` after what is in flight is saved; a second
        one does not wait for it.

        Raises:
            ConfigError: An event loop is running here: use `await pipeline.run(jobs)`.
            Exception: As `run`.
        """
        return run_until_signalled(lambda control: self._run(_of(jobs), control, progress))

    @asynccontextmanager
    async def stream(self, jobs: Jobs) -> AsyncGenerator[AsyncIterator[Event]]:
        """Work on the jobs and yield one event per thing that happened; `RunEnded` is the last.

        ```python
        async with pipeline.stream(jobs) as events:
            async for event in events: ...
        ```

        Read the events as they come: while a thousand are unread, the run begins nothing new. What
        is in flight is saved meanwhile as ever, and the run goes on once they are read. Leaving
        the block early ends the run as a cancellation does: what is in flight is saved.

        Raises:
            Exception: As `run`.
        """
        events = UnreadEvents()
        error: Exception | None = None

        async def produce() -> None:
            nonlocal error
            try:
                result = await self._run(_of(jobs), Control(), events.tell, room=events.room)
                events.tell(RunEnded(result=result))
            except Exception as raised:  # noqa: BLE001 - raised below, not inside a group
                error = raised
            finally:
                events.end()

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            try:
                yield events
            except Exception as raised:  # noqa: BLE001 - raised below, not inside a group
                error = raised
            finally:
                events.close()
            group.cancel_scope.cancel()
        if error is not None:
            raise error

    async def finish(self, images: Iterable[AcceptedImage], progress: Watcher = None) -> RunResult:
        """Finish images that a person chose, on the quality tier.

        Each image becomes a job of its own, `<job id>-<number>-finished`, with one finish slot at
        the size and ratio of its job; an image that is finished already is left as it is, one
        whose finish was rejected gets another slot. The chosen images stay where they are.

        Args:
            images: Accepted images of this pipeline's checkpoint.
            progress: As in `run`.

        Raises:
            ConfigError: There is no quality tier, or an image is not from this checkpoint.
            Exception: As `run`.
        """
        if Tier.QUALITY not in self._options.plan.models:
            raise ConfigError(
                "Finishing needs a quality tier: pass TwoTierPipeline(..., quality='quality')."
            )
        chosen = list(images)
        return await self._run(
            lambda checkpoint: jobs_to_finish(checkpoint, chosen), Control(), progress
        )

    async def calibrate(
        self, jobs: Jobs, images: int = 50, progress: Watcher = None
    ) -> Calibration:
        """Draw the first images for real, and return what they measured.

        It is a run that begins `images` slots and no more: the images count towards the jobs,
        nothing is thrown away, and `run` goes on with the rest. Jobs take their routes, so `auto`
        measures the tier it chooses; to measure both, give half of the jobs the route `quality`.

        ```python
        calibration = await pipeline.calibrate(jobs)  # or: anyio.run(pipeline.calibrate, jobs)
        print(calibration)  # rates and USD per accepted image, with intervals
        registry = registry.save_rates(calibration.rates, "nanobatch.toml")
        print(pipeline.forecast(jobs))
        ```

        Args:
            jobs: As for `run`; only as many are read as are needed.
            images: Slots to begin, >= 1. 50 tell the cost of an accepted image to about a fifth.
            progress: As in `run`.

        Raises:
            ConfigError: `images` is no whole number from 1.
            Exception: As `run`.
        """
        try:
            quota = SlotQuota(read_count("images", images, at_least=1, at_most=MAX_IMAGES))
        except ValueError as error:
            raise ConfigError(f"calibrate: {error}") from None
        result = await self._run(_of(jobs), Control(), progress, quota=quota)
        options = self._options
        checkpoint = options.checkpoint
        root = checkpoint.root if isinstance(checkpoint, Checkpoint) else checkpoint
        with Checkpoint.read(root) as reader:
            return calibration_of(result, reader, options.plan, self._registry)

    def forecast(self, jobs: Iterable[Job]) -> Forecast:
        """Return what the jobs may cost beyond what the checkpoint already has; spends nothing.

        It takes the rates of this checkpoint or of the config, whichever rest on more slots, and
        assumed ones, with wide bounds, where fewer than 20 slots were measured. Slots that other
        filters judged or another model drew do not count. Jobs on the route `auto` are taken to be
        drawn on the tier that it would choose for them now. Up to 20 prompts are counted by the
        provider, free of charge, within five seconds. Where that cannot be, tokens are estimated:
        no key, no network, a backend that is open, or an event loop that runs in this
        thread (there, `await anyio.to_thread.run_sync(pipeline.forecast, jobs)` counts too).

        Args:
            jobs: The jobs, read to their end once: hand over a list, or a fresh iterator.

        Raises:
            ConfigError: As `run`.
            CheckpointError: The checkpoint cannot be read.
        """
        with self._reading() as checkpoint:
            return forecast(jobs, self._options, self._registry, checkpoint)

    @contextmanager
    def _reading(self) -> Generator[CheckpointReader | None]:
        """Open the checkpoint to look at it; `None` if there is none yet."""
        checkpoint = self._options.checkpoint
        if isinstance(checkpoint, Checkpoint):
            yield checkpoint
        elif (checkpoint / DATABASE).exists():
            with Checkpoint.read(checkpoint) as reader:
                yield reader
        else:
            yield None

    async def _run(
        self,
        work: _Work,
        control: Control,
        progress: Watcher,
        *,
        quota: SlotQuota | None = None,
        room: Room = no_wait,
    ) -> RunResult:
        """Open what was handed over unopened, run, and close it again."""
        options = self._options
        audience = Audience(progress, control)
        _warn_of_retirement(self._registry, options.plan.models.values())
        async with AsyncExitStack() as stack:
            checkpoint = options.checkpoint
            if not isinstance(checkpoint, Checkpoint):
                checkpoint = await stack.enter_async_context(Checkpoint.open(checkpoint))
            jobs, chosen = work(checkpoint)
            if isinstance(jobs, Sequence):  # what can be checked before anything is sent, is
                for job in jobs:
                    options.plan.check(checked_job(job))
            await stack.enter_async_context(opened(options.backend))
            wanted = sum(job.want for job in jobs) if isinstance(jobs, Sequence) else None
            with audience.watch(options, wanted=wanted) as watch:
                run = Run(
                    options,
                    checkpoint,
                    control=control,
                    emit=audience.hear,
                    chosen=chosen,
                    told=self._told,
                    quota=quota,
                    room=room,
                    watch=watch,
                )
                return await run.work(jobs)


_Work: TypeAlias = "Callable[[Checkpoint], tuple[Jobs, dict[str, Chosen]]]"
"""Gives the jobs of a run, and the drafts a person chose for them, once the checkpoint is open."""


def _of(jobs: Jobs) -> _Work:
    input_of_jobs = checked_jobs(jobs)
    return lambda _: (input_of_jobs, {})


def _warn_of_retirement(registry: ModelRegistry, models: Iterable[Model]) -> None:
    used = {model.id for model in models}
    for model in registry.retiring():
        if model.id in used:
            switch = f"; switch to {model.replacement}" if model.replacement else ""
            warnings.warn(
                f"{model.id} is switched off on {model.retires}{switch}.",
                ModelRetiringWarning,
                stacklevel=3,
            )


def _registry(registry: object) -> ModelRegistry:
    if registry is None:
        return ModelRegistry.builtin()
    if not isinstance(registry, ModelRegistry):
        raise ConfigError(
            f"registry is of type {type(registry).__name__}: write "
            "registry=ModelRegistry.load('nanobatch.toml'), or leave it out."
        )
    return registry


def _filters(filters: object) -> tuple[AnyFilter, ...]:
    if not isinstance(filters, Iterable) or isinstance(filters, str):
        raise ConfigError(
            f"filters is of type {type(filters).__name__}: write a list of filters, also of one."
        )
    return tuple(map(checked, cast("Iterable[object]", filters)))


def _route(route: Route | str) -> Route:
    try:
        return Route(route)
    except ValueError:
        known = ", ".join(Route)
        raise ConfigError(f"route={route!r}: choose one of {known}.") from None
