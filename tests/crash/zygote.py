"""Forks one run for every order it reads, so that a killed run costs no interpreter's start.

Started by `harness.zygote` as a process of its own: one order a line on stdin, one report a line
on stdout, both JSON; the line `"kill"` kills what an order has started. It imports everything
before the first fork and has no thread that a fork could lose.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

import anyio
from PIL import Image

from nanobatch import CheckpointLockedError, Gemini
from tests.crash.child import run_batch
from tests.crash.harness import LOCKED

__all__ = ["main"]

KILL = "kill"


@dataclass(slots=True)
class Forked:
    """One run in a process of its own; end of file on its pipe is the end of the process."""

    pid: int
    pipe: int
    heard: bytearray = field(default_factory=bytearray)

    def hear(self) -> bool:
        """Read what it told; return whether it still lives."""
        chunk = os.read(self.pipe, 65536)
        self.heard += chunk
        return bool(chunk)

    def kill(self) -> None:
        """Kill it as a power cut would end it: at once, and nobody is asked."""
        os.kill(self.pid, signal.SIGKILL)  # ours and not waited for yet: the pid is its own

    def report(self) -> dict[str, Any]:
        """Wait for its end; return the exit code, and the whole lines it told."""
        os.close(self.pipe)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        lines = self.heard.split(b"\n")[:-1]
        return {"code": code, "pid": self.pid, "told": [json.loads(line) for line in lines]}


def fork(order: dict[str, Any]) -> Forked:
    """Start a run in a forked process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Forked(pid, reading)
    code = 1
    try:
        os.close(reading)
        code = _be_a_run(order, writing)
    finally:
        os._exit(code)


def _be_a_run(order: dict[str, Any], pipe: int) -> int:
    def tell(kind: str, **facts: object) -> None:
        os.write(pipe, json.dumps({"kind": kind, **facts}).encode() + b"\n")

    try:
        run_batch(order, tell)
    except CheckpointLockedError as error:
        tell("locked", pid=error.pid)
        return LOCKED
    except BaseException:  # noqa: BLE001 - told, and then the process ends
        tell("raised", text=traceback.format_exc()[-3000:])
        return 1
    return 0


class Orders:
    """Lines from stdin, which may come while a run goes on; nothing is read ahead into a buffer."""

    def __init__(self) -> None:
        self.pipe = sys.stdin.fileno()
        self._rest = bytearray()

    def next(self) -> Any:
        """Wait for the next line; `None` at the end."""
        while b"\n" not in self._rest:
            chunk = os.read(self.pipe, 65536)
            if not chunk:
                return None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


def obey(order: dict[str, Any], orders: Orders) -> dict[str, Any]:
    """Let the starters of an order run until they end or are killed."""
    begun = time.monotonic()
    deadline = begun + (order["kill_after_seconds"] or float("inf"))
    most_lines = order["kill_after_lines"] or float("inf")
    runs = [fork(order) for _ in range(order["starters"])]
    alive = {run.pipe: run for run in runs}
    is_killed = is_told_to_kill = False
    while alive:
        is_due = (
            is_told_to_kill
            or time.monotonic() >= deadline
            or sum(run.heard.count(b"\n") for run in runs) >= most_lines
            or (order["kill_last"] and len(alive) == 1)
        )
        if is_due and not is_killed:
            is_killed = True
            for run in alive.values():
                run.kill()
        pipes = [*alive] if is_killed else [*alive, orders.pipe]
        for pipe in _readable(pipes, float("inf") if is_killed else deadline - time.monotonic()):
            if pipe == orders.pipe:
                is_told_to_kill = orders.next() in {KILL, None}
            elif not alive[pipe].hear():
                del alive[pipe]
    seconds = time.monotonic() - begun
    return {"runs": [run.report() for run in runs], "seconds": seconds}


def _readable(pipes: list[int], wait_seconds: float) -> list[int]:
    wait = None if wait_seconds == float("inf") else max(0.0, wait_seconds)
    return select.select(pipes, [], [], wait)[0]


def warm_up() -> None:
    """Load what a run loads: the SDK, its transport, the codecs."""

    async def open_once() -> None:
        async with Gemini(api_key="simulated", base_url="http://127.0.0.1:9"):
            pass

    anyio.run(open_once)
    Image.preinit()
    assert threading.active_count() == 1, "a fork would lose the other threads"


def main() -> None:
    """Obey orders until stdin ends."""
    warm_up()
    orders = Orders()
    while (order := orders.next()) is not None:
        if order != KILL:  # else it came too late, for a run that has ended
            sys.stdout.write(json.dumps(obey(order, orders)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
