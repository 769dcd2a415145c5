"""What a person sees of a run, in real terminals, in logs and in a notebook."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from nanobatch import Job
from tests.support import pipeline_on, simulator
from tests.terminal import Terminal, running, terminal

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from nanobatch.simulator import Simulator


@contextmanager
def watched(
    server: Simulator, folder: Path, seen: Terminal, *words: str, **options: Any
) -> Generator[subprocess.Popen[bytes]]:
    """Start the batch in a terminal, which is then the process's alone."""
    command = [sys.executable, "-m", "tests.pipeline.watched", server.base_url, str(folder)]
    with running([*command, "terminal", *words], seen, **options) as process:
        yield process


async def whole_run(
    server: Simulator, folder: Path, seen: Terminal, *words: str, **options: Any
) -> int:
    """Run the batch to its end while somebody looks; return the exit code."""
    with watched(server, folder, seen, *words, **options) as process:
        os.close(seen.device)
        await anyio.to_thread.run_sync(seen.read)
        return await anyio.to_thread.run_sync(process.wait)


def lines_with(seen: Terminal, text: str) -> list[str]:
    return [line for line in seen.lines if text in line]


async def test_a_terminal_gets_one_block_and_what_the_program_prints_stays_above_it(
    tmp_path: Path,
) -> None:
    async with simulator(latency_seconds=0.3) as server:
        with terminal() as seen:
            code = await whole_run(server, tmp_path, seen)

    assert code == 0
    assert (tmp_path / "ended").read_text() == "complete 6"
    assert len(lines_with(seen, "images")) == 1
    assert "6 of 6 images" in lines_with(seen, "images")[0]
    assert lines_with(seen, "images")[0].endswith("100 %")
    labels = [line.split("  ")[0] for line in seen.lines[-4:]]
    assert labels == ["accept rate", "per image", "spend", "time"]
    assert seen.lines[0] == "a line of the program itself"
    assert len(seen.lines) == 6
    assert "ended: complete" in seen.lines[-1]
    assert " of 2.50 USD" in lines_with(seen, "spend")[0]
    assert b"in flight" in seen.written
    assert b"\x1b[?25l" not in seen.written


async def test_a_narrow_terminal_without_colours_has_the_same_lines(tmp_path: Path) -> None:
    async with simulator(latency_seconds=0.3) as server:
        with terminal(columns=60) as seen:
            await whole_run(server, tmp_path, seen, env={"NO_COLOR": "1"})

    assert len(lines_with(seen, "6 of 6 images")) == 1
    assert [line.split("  ")[0] for line in seen.lines[-4:]] == [
        "accept rate",
        "per image",
        "spend",
        "time",
    ]
    assert seen.colours == {"default"}


async def test_colours_are_used_where_they_are_wanted(tmp_path: Path) -> None:
    async with simulator() as server:
        with terminal() as seen:
            await whole_run(server, tmp_path, seen)

    assert "green" in seen.colours  # of a finished bar


async def test_ctrl_c_saves_the_run_and_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    async with simulator(latency_seconds=1.5) as server:
        with terminal() as seen, watched(server, tmp_path, seen) as process:
            before = seen.settings
            await anyio.to_thread.run_sync(seen.read, "2 of 2 in flight")
            seen.type(b"\x03")
            await anyio.to_thread.run_sync(seen.read, "ended: cancelled")
            settings = seen.settings
            os.close(seen.device)
            await anyio.to_thread.run_sync(seen.read)
            code = await anyio.to_thread.run_sync(process.wait)

    assert code == 0
    assert (tmp_path / "ended").read_text().startswith("cancelled")
    assert b"ending: cancelled, what is in flight is saved first" in seen.written
    assert settings == before
    assert not seen.hides_cursor
    assert b"\x1b[?25l" not in seen.written
    assert len(lines_with(seen, " of 6 images")) == 1


async def test_a_terminal_that_goes_away_does_not_take_the_run_with_it(tmp_path: Path) -> None:
    async with simulator(latency_seconds=0.3) as server:
        with (
            terminal() as seen,
            watched(server, tmp_path, seen, "hangup", stdout=subprocess.DEVNULL) as process,
        ):
            os.close(seen.device)
            await anyio.to_thread.run_sync(seen.read, " of 6 images")
            seen.go_away()
            code = await anyio.to_thread.run_sync(process.wait)

    assert code == 0
    assert (tmp_path / "ended").read_text() == "complete 6"


async def test_a_terminal_that_is_held_does_not_hold_the_run(tmp_path: Path) -> None:
    """As after Ctrl-S: whoever writes to it hangs."""
    async with simulator(latency_seconds=0.3) as server:
        with terminal() as seen, watched(server, tmp_path, seen, stdout=subprocess.DEVNULL) as run:
            await anyio.to_thread.run_sync(seen.read, " of 6 images")
            seen.hold()
            code = await anyio.to_thread.run_sync(run.wait)

    assert code == 0
    assert (tmp_path / "ended").read_text() == "complete 6"


async def test_output_that_goes_to_a_file_goes_on_going_there(tmp_path: Path) -> None:
    with (tmp_path / "out.txt").open("wb") as out:
        async with simulator(latency_seconds=0.2) as server:
            with terminal() as seen:
                await whole_run(server, tmp_path, seen, stdout=out)

    assert (tmp_path / "out.txt").read_text() == "a line of the program itself\n"
    assert lines_with(seen, "6 of 6 images")
    assert not lines_with(seen, "the program itself")


async def test_without_rich_one_line_is_rewritten(tmp_path: Path) -> None:
    async with simulator(latency_seconds=0.3) as server:
        with terminal(columns=70) as seen:
            await whole_run(server, tmp_path, seen, "without rich", stdout=subprocess.DEVNULL)

    [line] = seen.lines
    assert line.startswith("6/6 100 % | ")
    assert " of 2.50 USD | ended: complete | " in line
    assert seen.written.count(b"\r") > 2
    assert b"\x1b" not in seen.written


async def test_two_runs_in_one_process_do_not_draw_over_each_other(tmp_path: Path) -> None:
    async with simulator(latency_seconds=0.2) as server:
        with terminal() as seen:
            await whole_run(server, tmp_path, seen, "two")

    assert len(lines_with(seen, "6 of 6 images")) == 1


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (["background"], {}),
        ([], {"TERM": "dumb"}),
        ([], {"PROGRESS": "false"}),
    ],
    ids=["in the background", "a terminal that can rewrite nothing", "progress=False"],
)
async def test_nobody_is_shown_anything_who_could_not_see_it_or_did_not_want_to(
    tmp_path: Path, words: list[str], env: dict[str, str]
) -> None:
    async with simulator(latency_seconds=0.1) as server:
        with terminal() as seen:
            await whole_run(server, tmp_path, seen, *words, env=env, stdout=subprocess.DEVNULL)

    assert (tmp_path / "ended").read_text() == "complete 6"
    assert seen.written == b""


async def in_a_pipe(server: Simulator, folder: Path, **env: str) -> str:
    """Run the batch with its standard error in a pipe; return what was written there."""
    command = [sys.executable, "-m", "tests.pipeline.watched", server.base_url, str(folder)]
    finished = await anyio.run_process(command, env={**os.environ, **env})
    return finished.stderr.decode()


async def test_a_pipe_gets_nothing_unless_it_is_asked_for_and_then_one_line_at_the_end(
    tmp_path: Path,
) -> None:
    async with simulator() as server:
        silent = await in_a_pipe(server, tmp_path / "a")
        asked = await in_a_pipe(server, tmp_path / "b", PROGRESS="true")

    assert silent == ""
    assert asked.startswith("nanobatch: 6 of 6 images (100 %); accept rate 100.0 % (")
    assert asked.endswith("ended: complete\n")
    assert asked.count("\n") == 1


async def test_a_log_that_takes_info_gets_the_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="nanobatch.progress")
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, quality=None)
        await pipeline.run([Job(id="a", prompt="a fox", want=3)])
        await pipeline.run([Job(id="b", prompt="a fox")], progress=False)

    [record] = [one for one in caplog.records if one.name == "nanobatch.progress"]
    assert record.getMessage().startswith("3 of 3 images (100 %); accept rate 100.0 %")


NOTEBOOK = """
from nanobatch import Budget, Gemini, Job, TwoTierPipeline
pipeline = TwoTierPipeline(
    Gemini(api_key="k", base_url={url!r}), checkpoint={folder!r}, budget=Budget(usd="2.50")
)
result = await pipeline.run([Job(id=f"j{{n}}", prompt=f"dune {{n}}") for n in range(6)])
print(result.ended)
"""


async def test_a_notebook_shows_one_table_and_keeps_it_up_to_date(tmp_path: Path) -> None:
    async with simulator(latency_seconds=0.6) as server:
        code = NOTEBOOK.format(url=server.base_url, folder=str(tmp_path))
        command = [sys.executable, "-m", "tests.pipeline.notebook"]
        finished = await anyio.run_process(command, input=code.encode(), stderr=None)

    of_kind: dict[str, list[Any]] = {}
    for message in json.loads(finished.stdout):
        of_kind.setdefault(message["kind"], []).append(message["content"])
    assert [one["text"] for one in of_kind["stream"]] == ["complete\n"]
    [first] = of_kind["display_data"]
    updates = of_kind["update_display_data"]
    assert {one["transient"]["display_id"] for one in updates} == {first["transient"]["display_id"]}
    last = updates[-1]["data"]
    assert "<b>6 of 6 images</b>" in last["text/html"]
    assert "ended: complete" in last["text/html"]
    assert last["text/plain"].startswith("6 of 6 images (100 %); accept rate")


async def test_a_notebook_that_cannot_show_anything_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shell:
        kernel = object()

    import IPython

    monkeypatch.setattr(IPython, "get_ipython", Shell)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    async with simulator() as server:
        result = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="a fox")])

    assert result.delivered == 1
