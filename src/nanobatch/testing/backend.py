"""An image model in memory that answers as it is told: for tests of filters and of pipelines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import anyio.lowlevel

from nanobatch.backend import ImageRequest, Reply
from nanobatch.models import TokenUsage
from nanobatch.testing.gallery import gallery

__all__ = ["ScriptedBackend", "Step"]

Step: TypeAlias = bytes | Reply | Exception | Callable[[ImageRequest], "bytes | Reply"]


class ScriptedBackend:
    """Answers each call with the next step of a script, and after its end with good pictures.

    A step is an image file, a whole `Reply`, an exception to raise (`TransientError(...)`), or a
    function of the request that returns one of the first two. An image file is billed as 1,120
    image tokens and one input token for four bytes of the prompt.

    ```python
    backend = ScriptedBackend(b"no image at all", TransientError("busy", kind="overloaded"))
    pipeline = TwoTierPipeline(backend, checkpoint=folder, budget=Budget.unlimited())
    ```
    """

    def __init__(self, *script: Step) -> None:
        self.requests: list[ImageRequest] = []
        """Every request so far, in the order of arrival."""
        self._script = deque(script)
        self._good = [one.image_bytes for one in gallery() if one.kind == "good"]

    async def generate(self, request: ImageRequest) -> Reply:
        """Answer one request.

        Raises:
            Exception: The step of the script says so.
        """
        await anyio.lowlevel.checkpoint()
        nth = len(self.requests)
        self.requests.append(request)
        step = self._script.popleft() if self._script else self._good[nth % len(self._good)]
        if isinstance(step, Exception):
            raise step
        answer = step(request) if callable(step) else step
        if isinstance(answer, Reply):
            return answer
        prompt_tokens = -(-len(request.prompt.encode()) // 4)
        usage = TokenUsage(prompt_tokens=prompt_tokens, image_tokens=1120, text_tokens=0)
        return Reply(images=(answer,), usage=usage, finish_reason="STOP")

    async def aclose(self) -> None:
        """Nothing is held open."""
