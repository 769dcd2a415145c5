"""What a caller can get wrong, and the sentence that says what to do about it."""

from __future__ import annotations

import asyncio
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from nanobatch import (
    Budget,
    Checkpoint,
    CheckpointError,
    CheckpointLockedError,
    ConfigError,
    DuplicateJobError,
    Ended,
    Gemini,
    Job,
    JobChangedError,
    JobError,
    MissingKeyError,
    ModelRegistry,
    ModelRetiredError,
    ModelRetiringWarning,
    PriceUnknownError,
    Route,
    TwoTierPipeline,
    UnknownModelError,
    filters,
)
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from nanobatch import AcceptedImage, Candidate


def _pipeline(folder: Path, **options: Any) -> TwoTierPipeline:
    defaults: dict[str, Any] = {"checkpoint": folder, "budget": Budget(usd="1")}
    return TwoTierPipeline(Gemini(api_key="k"), **{**defaults, **options})


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"budget": None}, ConfigError, "needs a budget"),
        ({"lite": "nano-banana-3"}, UnknownModelError, "nano-banana-3"),
        (
            {"lite": "gemini-3.1-flash-image"},
            ModelRetiredError,
            "gemini-nano-banana-2.1",
        ),
        ({"concurrency": 0}, ConfigError, "at least 1"),
        ({"route": "fast"}, ConfigError, "choose one of lite, finish, quality, auto"),
        ({"keep_rejected": "some"}, ConfigError, "thumbnail"),
        ({"filters": [filters.NotBlank]}, ConfigError, r"NotBlank\(\.\.\.\)"),
        ({"filters": ["blank"]}, ConfigError, "callable"),
        ({"filter_timeout_seconds": 0}, ConfigError, "above 0"),
        ({"lite": None}, UnknownModelError, "by a role, an id or an alias, not by None"),
        ({"registry": {}}, ConfigError, "registry is of type dict"),
        ({"budget": 5}, ConfigError, r"of type int: write budget=Budget\(usd='25.00'\)"),
        ({"concurrency": "8"}, ConfigError, "of type str: write concurrency=16"),
        ({"concurrency": 10_001}, ConfigError, "at most 10,000 make sense"),
        ({"concurrency": 1.5}, ConfigError, "of type float: write concurrency=16"),
        ({"retry": 3}, ConfigError, r"of type int: write retry=Retry\(tries=3\)"),
        ({"stop": 3}, ConfigError, r"write stop=StopRule\(\)"),
        ({"pace": 3}, ConfigError, "write pace=Pace"),
        ({"batch": True}, ConfigError, r"write batch=BatchOptions\(\)"),
        ({"filters": filters.NotBlank()}, ConfigError, "a list of filters, also of one"),
        ({"filter_timeout_seconds": None}, ConfigError, "is None: write"),
        ({"finish_fallback": "no"}, ConfigError, "of type str: write finish_fallback=True"),
    ],
)
def test_a_pipeline_refuses_what_cannot_be_meant(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        _pipeline(tmp_path, **options)


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        (None, r"is None and has no method generate: pass Gemini\(\)"),
        (Gemini, r"Gemini is a class, not a backend: write it with \(\)"),
    ],
)
def test_what_is_no_backend_is_refused(tmp_path: Path, backend: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TwoTierPipeline(backend, checkpoint=tmp_path, budget=Budget(usd="1"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"client": 5}, "not a google.genai.Client"), ({"api_key": 5}, "must be text")],
)
def test_what_a_backend_cannot_use_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Gemini(**options)


@pytest.mark.parametrize(
    ("jobs", "sentence"),
    [
        (Job(id="a", prompt="b"), r"many jobs, .* not a Job: for one job write \[job\]"),
        ("a prompt", "not a str"),
        (None, "not a NoneType"),
        (["a prompt"], r"holds a str where a Job is needed: write Job\(id=..., prompt=...\)"),
        ([{"id": "a", "prompt": "b"}], "holds a dict where a Job is needed"),
    ],
)
async def test_what_is_no_job_is_refused(tmp_path: Path, jobs: Any, sentence: str) -> None:
    async with simulator() as server:
        with pytest.raises(ConfigError, match=sentence):
            await pipeline_on(server, tmp_path).run(jobs)

    assert server.bill.requests == 0


async def test_a_folder_is_the_same_wherever_the_program_goes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with simulator() as server:
        pipeline = pipeline_on(server, Path("run"))
        await pipeline.run([Job(id="a", prompt="a fox")])
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        again = await pipeline.run([Job(id="a", prompt="a fox")])

    assert again.delivered == 1
    assert server.bill.requests == 1


async def test_a_listener_that_would_have_to_be_awaited_is_refused(tmp_path: Path) -> None:
    async def listen(event: object) -> None:
        raise AssertionError(event)

    async with simulator() as server:
        with pytest.raises(ConfigError, match=r"plain function.*pipeline.stream\(jobs\)"):
            await pipeline_on(server, tmp_path).run([], listen)


def test_inside_trio_too_run_sync_says_what_to_write(tmp_path: Path) -> None:
    async def main() -> None:
        _pipeline(tmp_path).run_sync([])

    with pytest.raises(ConfigError, match=r"use `await pipeline.run\(jobs\)` there"):
        trio.run(main)


async def test_a_missing_key_is_said_before_anything_is_written_down_as_sent(
    tmp_path: Path,
) -> None:
    pipeline = TwoTierPipeline(Gemini(), checkpoint=tmp_path, budget=Budget(usd="1"))

    with pytest.raises(MissingKeyError, match="set GEMINI_API_KEY"):
        await pipeline.run([Job(id="a", prompt="x")])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"size": "2K", "route": "lite"}, "does not make 2K images"),
        ({"size": "8K"}, "gemini-3.1-flash-lite-image does not make 8K"),
        ({"aspect_ratio": "5:7"}, "does not make 1K images at 5:7"),
        ({"references": ("missing.png",)}, r"missing\.png cannot be read"),
    ],
)
async def test_a_job_no_model_can_make_is_an_error_before_anything_is_sent(
    tmp_path: Path, fields: dict[str, Any], sentence: str
) -> None:
    jobs = [Job(id="good", prompt="x"), Job.model_validate({"id": "bad", "prompt": "y", **fields})]
    async with simulator() as server:
        with pytest.raises(JobError, match=sentence) as caught:
            await pipeline_on(server, tmp_path).run(jobs)

    assert caught.value.job_id == "bad"
    assert server.bill.requests == 0


async def test_a_quality_job_without_a_quality_tier_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="has no quality tier"):
        await _pipeline(tmp_path).run([Job(id="hero", prompt="x", route=Route.QUALITY)])


async def test_an_unknown_price_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        '[models.house-model]\nsizes = ["1K"]\naspect_ratios = ["1:1"]\n'
        "[models.house-model.image_tokens]\n1K = 1000\n"
    )
    async with simulator() as server:
        pipeline = pipeline_on(
            server, tmp_path / "run", registry=ModelRegistry.load(config), lite="house-model"
        )
        with pytest.raises(PriceUnknownError, match="house-model"):
            await pipeline.run([Job(id="a", prompt="x", route=Route.LITE)])

    assert server.bill.requests == 0


async def test_a_model_that_retires_soon_warns_once_a_run(tmp_path: Path) -> None:
    soon = datetime.now(UTC).date() + timedelta(days=30)
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        f'[models."gemini-3.1-flash-lite-image"]\nretires = {soon}\n'
        'replacement = "gemini-nano-banana-2.1"\n'
    )
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path / "run", registry=ModelRegistry.load(config))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await pipeline.run([Job(id="a", prompt="x", want=3)])

    messages = [str(w.message) for w in caught if w.category is ModelRetiringWarning]
    assert len(messages) == 1
    assert "gemini-nano-banana-2.1" in messages[0]


async def test_two_jobs_with_one_id_are_an_error(tmp_path: Path) -> None:
    async with simulator() as server:
        with pytest.raises(DuplicateJobError, match="'a' occurs twice"):
            await pipeline_on(server, tmp_path).run(
                [Job(id="a", prompt="x"), Job(id="a", prompt="y")]
            )

    assert server.bill.requests == 0


async def test_a_changed_prompt_under_an_accepted_id_is_refused_and_loses_nothing(
    tmp_path: Path,
) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)
        await pipeline.run([Job(id="a", prompt="x")])
        with pytest.raises(JobChangedError, match="give the changed job a new id"):
            await pipeline.run([Job(id="a", prompt="y")])

        result = await pipeline.run([Job(id="a", prompt="x", want=2, tag="new")])

    assert result.delivered == 2
    assert server.bill.images == 2


async def test_a_changed_prompt_without_accepted_images_is_a_new_attempt(tmp_path: Path) -> None:
    async with simulator(accept_rate=lambda call: float(call.prompt == "good")) as server:
        pipeline = pipeline_on(server, tmp_path, route="lite")
        first = await pipeline.run([Job(id="a", prompt="bad")])

        second = await pipeline.run([Job(id="a", prompt="good")])

    assert first.jobs["a"].status == "stopped"
    assert second.jobs["a"].status == "done"
    assert second.jobs["a"].slots == 7  # spend and N keep the first attempt
    assert second.spend.confirmed_usd == server.bill.usd


async def test_less_wanted_than_accepted_is_done(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)
        await pipeline.run([Job(id="a", prompt="x", want=3)])

        result = await pipeline.run([Job(id="a", prompt="x", want=1)])

    assert result.jobs["a"].status == "done"
    assert (result.wanted, result.delivered, result.fill_rate) == (1, 1, 1.0)
    assert server.bill.images == 3


@pytest.mark.at_once("orders are filled before the first answer comes")
async def test_a_million_jobs_are_never_read_ahead(tmp_path: Path) -> None:
    read = 0

    def endless() -> Iterator[Job]:
        nonlocal read
        while True:
            read += 1
            yield Job(id=f"j{read}", prompt=f"dune {read}")

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, budget=Budget(usd="0.60"), concurrency=2)

        result = await pipeline.run(endless())

    assert result.ended is Ended.BUDGET
    assert not result.all_read
    assert read <= 64


async def test_jobs_may_come_from_an_async_iterable(tmp_path: Path) -> None:
    async def jobs() -> AsyncIterator[Job]:
        for n in range(5):
            yield Job(id=f"j{n}", prompt=f"dune {n}")

    async with simulator() as server:
        result = await pipeline_on(server, tmp_path).run(jobs())

    assert result.delivered == 5
    assert result.all_read


async def test_an_error_of_the_callers_iterator_comes_out_bare_after_saving(tmp_path: Path) -> None:
    def jobs() -> Iterator[Job]:
        for n in range(40):
            yield Job(id=f"j{n}", prompt=f"dune {n}")
        raise RuntimeError("the database went away")

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=2)
        with pytest.raises(RuntimeError, match="the database went away"):
            await pipeline.run(jobs())

        result = await pipeline.run([Job(id=f"j{n}", prompt=f"dune {n}") for n in range(40)])

    assert result.delivered == 40
    assert server.bill.images == 40


async def test_an_async_input_that_is_cancelled_inside_is_no_cancelled_run(tmp_path: Path) -> None:
    async def jobs() -> AsyncIterator[Job]:
        yield Job(id="a", prompt="fox")
        query = asyncio.ensure_future(asyncio.Event().wait())
        query.cancel()
        await query

    async with simulator(pixels=0.05) as server:
        with pytest.raises(RuntimeError, match="input of jobs was cancelled"):
            await pipeline_on(server, tmp_path, filters=[]).run(jobs())

    with Checkpoint.read(tmp_path) as checkpoint:
        assert [job.id for job in checkpoint.jobs()] == ["a"]
        assert checkpoint.verify().is_clean


async def test_what_an_iterator_gave_before_its_error_is_written_down(tmp_path: Path) -> None:
    def jobs() -> Iterator[Job]:
        yield from (Job(id=f"j{n}", prompt=f"fox {n}") for n in range(5))
        raise ValueError("bad line 6")

    async with simulator(pixels=0.05) as server:
        with pytest.raises(ValueError, match="bad line 6"):
            await pipeline_on(server, tmp_path, filters=[]).run(jobs())

    with Checkpoint.read(tmp_path) as checkpoint:
        assert [job.id for job in checkpoint.jobs()] == [f"j{n}" for n in range(5)]


def test_two_memories_of_one_name_are_refused(tmp_path: Path) -> None:
    class Memory:
        name = "memory"

        def __call__(self, candidate: Candidate) -> bool:
            return True

        def seen(self, image: AcceptedImage, memo: bytes) -> None:
            raise NotImplementedError

    with pytest.raises(ConfigError, match="2 filters named 'memory' remember"):
        _pipeline(tmp_path, filters=[Memory(), Memory()])

    _pipeline(tmp_path, filters=[Memory()], finish_filters=[Memory()])  # no image meets both


async def test_a_second_run_on_the_same_checkpoint_is_refused(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)
        async with pipeline.stream([Job(id="a", prompt="x", want=20)]) as events:
            await anext(events)
            with pytest.raises(CheckpointLockedError, match="this same process"):
                await pipeline.run([])


async def test_a_checkpoint_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CheckpointError, match="cannot be created"):
        await _pipeline(tmp_path / "file").run([])


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_key_is_in_no_message_and_no_file(tmp_path: Path) -> None:
    async with simulator(api_key="the-right-one") as server:
        backend = Gemini(
            api_key="AIzaSyD-wrong-key-wrong-key-wrong-key-12", base_url=server.base_url
        )
        pipeline = TwoTierPipeline(backend, checkpoint=tmp_path, budget=Budget(usd="1"))

        result = await pipeline.run([Job(id="a", prompt="x")])

    assert result.ended is Ended.ACCOUNT
    assert "Check the API key" in result.reason
    assert "wrong-key" not in result.reason + repr(pipeline) + repr(backend) + repr(result)
    written = [path for path in _files(tmp_path) if b"wrong-key" in path.read_bytes()]
    assert written == []
