"""What the pipeline asks of an image model and what it gets back; anybody can write a backend."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from decimal import Decimal
    from typing import Any

    from nanobatch.models import Model, TokenUsage

__all__ = [
    "ImageBackend",
    "ImageRequest",
    "JsonBackend",
    "JsonRequest",
    "Reply",
    "ThrottledBackend",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One call: everything a backend needs to ask for one image."""

    model: str
    """Model id, as the provider knows it."""

    prompt: str
    """Sent byte-exact."""

    aspect_ratio: str = "1:1"
    """Width to height, `"16:9"`."""

    size: str = "1K"
    """`"512"`, `"1K"`, `"2K"` or `"4K"`."""

    input_images: tuple[bytes, ...] = field(default=(), repr=False)
    """Image files that go with the prompt: the draft to finish first, then references."""

    timeout_seconds: float = 300.0
    """Deadline of the whole call, > 0."""

    thinking_level: str | None = None
    """The level to ask for; `None` for models that have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonRequest:
    """One question about images, to be answered in JSON."""

    model: str
    """Model id, as the provider knows it."""

    instruction: str
    """What the model is and has to do; stands above everything the prompt and images say."""

    prompt: str
    """The question."""

    schema: Mapping[str, Any]
    """What the answer has to look like, in the provider's subset of OpenAPI 3."""

    input_images: tuple[bytes, ...] = field(default=(), repr=False)
    """Image files the question is about."""

    max_output_tokens: int = 2048
    """The most the answer may use, thinking included: the provider cuts it there."""

    timeout_seconds: float = 60.0
    """Deadline of the whole call, > 0."""

    thinking_level: str | None = None
    """The level to ask for; `None` for the model's own."""

    def worst_case_usd(self, model: Model) -> Decimal:
        """Return the most the call can cost on a model, USD: every byte of text is a token.

        Raises:
            PriceUnknownError: The model has no price today.
        """
        texts = (self.instruction, self.prompt, json.dumps(dict(self.schema)))
        return model.worst_case_of_words_usd(
            input_bytes=sum(len(text.encode("utf-8", "surrogatepass")) for text in texts),
            input_images=len(self.input_images),
            max_output_tokens=self.max_output_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete answer of the model: billed, whatever it holds."""

    images: tuple[bytes, ...] = field(default=(), repr=False)
    """Image files as delivered. The last one is the candidate, the others are its spares."""

    usage: TokenUsage | None = None
    """What the call used; `None` if the answer does not say, and then its cost is unknown."""

    finish_reason: str = ""
    """The provider's word, `"STOP"`, `"IMAGE_SAFETY"`, ...; empty if it gave none."""

    text: str = ""
    """What the model wrote beside or instead of an image, at most 4,000 characters."""

    response_id: str = ""
    """The provider's id of this answer, for its support; empty if it gave none."""

    latency_seconds: float = 0.0
    """From the request's first byte to the answer's last, >= 0."""

    block_reason: str = ""
    """Why the prompt itself was refused; empty if it was not."""


class ImageBackend(Protocol):
    """One image model provider.

    A backend with `__aenter__` and `__aexit__` is opened for a run and closed after it when it is
    handed over unopened.
    """

    async def generate(self, request: ImageRequest) -> Reply:
        """Send exactly one request and return the complete answer.

        Raises:
            TransientError: It may work later; `is_unknown_money` says whether it may cost.
            BadRequestError: This request will never work.
            ModelGoneError: The model does not answer any more.
            AccountError: No request of this account can work.
        """
        ...

    async def aclose(self) -> None:
        """Release connections; closing twice is fine."""
        ...


@runtime_checkable
class ThrottledBackend(Protocol):
    """A backend that can leave answers on the wire while a run has enough of them in memory."""

    def hold_back(self, is_full: Callable[[], bool]) -> AbstractContextManager[None]:
        """Begin to read no further answer while `is_full()`, as long as the block lasts.

        It may go on after half a second all the same: a deadline runs.

        ```python
        with backend.hold_back(lambda: waiting_bytes > 32 * 1024**2):
            ...  # calls go out; their answers come in as others are used
        ```

        Args:
            is_full: Called on the event loop before an answer's body is read; it must not raise.
        """
        ...


@runtime_checkable
class JsonBackend(Protocol):
    """A backend whose provider also answers questions about images; judges need one."""

    async def generate_json(self, request: JsonRequest) -> Reply:
        """Send exactly one request and return the complete answer; its JSON is `Reply.text`.

        Raises:
            ProviderError: As `ImageBackend.generate`.
        """
        ...
