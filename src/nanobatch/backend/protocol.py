"""What the pipeline asks of an image model and what it gets back; anybody can write a backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nanobatch.models import TokenUsage

__all__ = ["ImageBackend", "ImageRequest", "Reply"]


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
