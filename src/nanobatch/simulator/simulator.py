"""A local Gemini on a real socket, for tests and demos that must not cost anything."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import anyio
import h11

from nanobatch.simulator import delivery, problem
from nanobatch.simulator.answer import Answer
from nanobatch.simulator.artist import Artist, Habits
from nanobatch.simulator.batch.batches import Batches
from nanobatch.simulator.batch.routes import answer_batch_request
from nanobatch.simulator.batch.settings import Settings
from nanobatch.simulator.batch.troubles import Troubles
from nanobatch.simulator.behaviour import read_setting
from nanobatch.simulator.bill import Bill
from nanobatch.simulator.catalogue import ALIASES
from nanobatch.simulator.exchange import Exchange, Message, Received, json_message
from nanobatch.simulator.files import Files
from nanobatch.simulator.line import Line, accept, listen
from nanobatch.simulator.problem import Problem
from nanobatch.simulator.service import MAX_REQUEST_BYTES, Service, too_large

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from datetime import date
    from types import TracebackType

    from anyio.abc import TaskGroup

    from nanobatch.simulator.batch.operation import Lost
    from nanobatch.simulator.behaviour import Setting
    from nanobatch.simulator.call import Call
    from nanobatch.simulator.delivery import Delivery
    from nanobatch.simulator.studio import Studio

__all__ = ["Simulator"]

_OK = 200


class Simulator:
    """A local Gemini: speaks the wire format, draws pictures, keeps its own bill.

    What a call gets is a function of `seed`, model, prompt and how often that was asked before,
    never of the order in which calls arrive. It shares no code with the rest of nanobatch.

    Args:
        seed: Another seed is another run of luck.
        accept_rate: Probability (0 to 1) that an image is good; the others are blank or nearly
            black. A number, a number by model id, or a function of the call.
        regenerate_rate: Probability (0 to 1) that a 200 holds no usable image: none at all, or a
            truncated file. A number, by model id, or a function of the call.
        latency_seconds: How long a 200 takes, >= 0; errors come at once. A number, by model id, or
            a function of the call. A call whose `X-Server-Timeout` is shorter gets a 504.
        scores: What models that answer in words say of an image, 0 to 10, where a schema asks for a
            number. A number, by model id, or a function of the call.
        answer: Called for every valid request; returns what to do with it, `None` for the usual.
        api_key: The only key that is let in; any key by default.
        drawings: How many different pictures there are for one tier, ratio and size, >= 1.
        pixels: Linear scale of the pictures, > 0: 0.25 makes tests fast.
        today: The day on which models are retired or not; the real one by default.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        batch: How fast batch jobs go, and what goes wrong with them and with files.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        accept_rate: Setting = 1.0,
        regenerate_rate: Setting = 0.0,
        latency_seconds: Setting = 0.0,
        scores: Setting = 8.0,
        answer: Callable[[Call], Answer | None] | None = None,
        api_key: str | None = None,
        drawings: int = 24,
        pixels: float = 1.0,
        today: date | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        batch: Settings | None = None,
    ) -> None:
        if drawings < 1:
            raise ValueError(f"drawings must be 1 or more, not {drawings}.")
        if not (pixels > 0 and math.isfinite(pixels)):
            raise ValueError(f"pixels must be greater than 0, not {pixels}.")
        self.bill = Bill()
        """What it would charge; stays readable after closing."""
        self._latency = read_setting(latency_seconds, "latency_seconds", default=0)
        self._address = (host, port)
        day = today or datetime.now(UTC).date()
        settings = batch or Settings()
        self._files = Files(seed, max_bytes=settings.max_file_bytes)
        self._service = Service(files=self._files, api_key=api_key, today=day)
        habits = Habits(
            seed=seed,
            accept_rate=read_setting(accept_rate, "accept_rate", default=1, most=1),
            regenerate_rate=read_setting(regenerate_rate, "regenerate_rate", default=0, most=1),
            scores=read_setting(scores, "scores", default=8, most=10),
            answer=answer,
            drawings=drawings,
            pixels=pixels,
        )
        self._artist = Artist(habits, read_file=self._files.read)
        self._failures: list[Exception] = []
        self._troubles = Troubles(settings)
        self._is_download_chunked = settings.chunked_downloads
        self.batches = Batches(
            settings,
            seed=seed,
            artist=self._artist,
            bill=self.bill,
            files=self._files,
            report=self._failures.append,
        )
        """Its batch jobs, and what a test may ask of them; stays readable after closing."""
        self._closing: AsyncExitStack | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT`, while it is open.

        Raises:
            RuntimeError: It is not open.
        """
        if self._closing is None:
            raise RuntimeError("The simulator is not open: use `async with Simulator() as ...`.")
        return self._service.base_url

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: The address is taken or not ours.
            RuntimeError: It is open already.
        """
        if self._closing is not None:
            raise RuntimeError("The simulator is open already.")
        listener = listen(*self._address)
        host, port = listener.getsockname()[:2]
        self._service.base_url = (
            f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        )
        async with AsyncExitStack() as stack:
            stack.callback(listener.close)
            self._files.open()
            stack.callback(self._files.close)
            stack.callback(self._artist.close)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            self.batches.open(tasks)
            tasks.start_soon(self._listen, listener, tasks)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop all connections at once and stop to listen.

        Raises:
            Exception: What the `answer` function raised, if it did: a broken test is not hidden.
        """
        closing, self._closing = self._closing, None
        if closing is not None:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                await closing.__aexit__(kind, error, trace)
            else:  # kept from the task group, which would wrap the caller's error into a group
                await closing.__aexit__(None, None, None)
        if self._failures and error is None:
            raise self._failures[0]

    async def _listen(self, listener: socket.socket, tasks: TaskGroup) -> None:
        while True:
            tasks.start_soon(self._serve, await accept(listener))

    async def _serve(self, line: Line) -> None:
        """Answer the requests of one connection until it ends, whichever way it ends."""
        exchange = Exchange(line)
        try:
            while received := await exchange.next_request(keep_bytes=MAX_REQUEST_BYTES):
                await self._respond(exchange, received)
                if not exchange.is_reusable():
                    break
        except (OSError, h11.ProtocolError):
            pass  # the client has gone, or speaks no HTTP
        finally:
            line.close()

    async def _respond(self, exchange: Exchange, received: Received) -> None:
        if received.method == "POST" and received.path.endswith(":generateContent"):
            await self._generate(exchange, received)
            return
        lost: Lost | None = None
        try:
            trouble = self._troubles.next_for(received)
            if isinstance(trouble, Answer):
                await self._give(exchange, trouble)
                return
            lost = trouble
            message = await answer_batch_request(received, self.batches, self._service)
            if message is None:
                message = self._service.respond(received)
        except Problem as refused:
            message = json_message(refused.body(), status=refused.status)
        except (OSError, h11.ProtocolError):
            raise
        except Exception as failure:  # noqa: BLE001 - shown as a 500 and raised on closing
            message = self._failed(failure)
        if lost is None:
            is_chunked = self._is_download_chunked and message.path is not None
            await exchange.write(message, is_chunked=is_chunked)
        elif lost.fraction is None:
            exchange.line.reset()
        else:
            await exchange.write_part(message, lost.fraction)

    async def _give(self, exchange: Exchange, answer: Answer) -> None:
        """Give an answer instead of carrying out a request about files or batch jobs."""
        studio = self._artist.idle()
        if answer.wait_seconds:
            await anyio.sleep(answer.wait_seconds)
        content = await self._artist.draw(answer, studio)
        message = Message(status=answer.status or _OK, headers=answer.headers, body=content.body)
        await answer.deliver(exchange, message, _nobody_counts)

    async def _generate(self, exchange: Exchange, received: Received) -> None:
        """Answer one generation request and keep the bill."""
        version, _, name = (
            received.path.removesuffix(":generateContent").strip("/").partition("/models/")
        )
        number = self.bill.open_line(ALIASES.get(name, name))
        landed = False

        def landing(*, answered: bool) -> None:
            nonlocal landed
            if not landed:
                self.bill.land()
            landed = True
            self.bill.mark_answered(number, answered=answered)

        try:
            message, deliver = await self._work(number, received, version=version, name=name)
            await deliver(exchange, message, landing)
        except (OSError, h11.ProtocolError):
            landing(answered=False)
            raise
        finally:
            if not landed:  # the simulator is closing
                self.bill.land()

    async def _work(
        self, number: int, received: Received, *, version: str, name: str
    ) -> tuple[Message, Delivery]:
        """Return what to write and how, after everything it takes; the bill is charged here."""
        try:
            studio = self._read(number, received, version=version, name=name)
            answer = self._artist.decide(studio)
            await self._wait(studio.call, answer, received)
            content = await self._artist.draw(answer, studio)
        except Problem as refused:
            self.bill.charge(number, status=refused.status, usage=None)
            return json_message(refused.body(), status=refused.status), delivery.whole
        except Exception as failure:  # noqa: BLE001 - shown as a 500 and raised on closing
            self.bill.charge(number, status=500, usage=None)
            return self._failed(failure), delivery.whole
        self.bill.charge(number, status=answer.status, usage=content.usage)
        message = Message(status=answer.status or _OK, headers=answer.headers, body=content.body)
        return message, answer.deliver

    def _read(self, number: int, received: Received, *, version: str, name: str) -> Studio:
        self._service.check_key(received)
        if version not in {"v1", "v1beta"}:
            raise problem.not_simulated(received.method, received.path)
        drawer = self._service.find_model(name, version=version, method="generateContent")
        if received.size_bytes > len(received.body):
            raise too_large()
        studio = self._artist.read(received.body, drawer, number=number, version=version)
        self.bill.read(number, prompt=studio.call.prompt)
        return studio

    async def _wait(self, call: Call, answer: Answer, received: Received) -> None:
        seconds = answer.wait_seconds
        if answer.status == _OK:
            seconds += self._latency(call)
        patience = _seconds(received.headers.get("x-server-timeout"))
        if seconds > patience:
            await anyio.sleep(patience)
            raise problem.deadline_passed()
        if seconds:
            await anyio.sleep(seconds)

    def _failed(self, failure: Exception) -> Message:
        self._failures.append(failure)
        text = f"The simulator failed: {type(failure).__name__}: {failure}"
        return json_message(Problem(500, text).body(), status=500)


def _nobody_counts(*, answered: bool) -> None:
    """Take note of an answer that is not on the bill."""


def _seconds(header: str | None) -> float:
    try:
        seconds = float(header or "inf")
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf
