"""One image model: what it can make, until when, and what a call on it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from nanobatch.errors import ConfigError, PriceUnknownError
from nanobatch.models.price import PriceRow, utc_day
from nanobatch.models.shape import edge_px, ratio_distance

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from decimal import Decimal

    from nanobatch.models.usage import TokenUsage

__all__ = ["Model", "PricedRequest"]

INPUT_IMAGE_TOKENS = 1120
"""Reserved per input image. Source: https://github.com/BerriAI/litellm/pull/31946 (0.00028 USD at
0.25 USD per million; measured 516 to 1069), collected 2026-11-23, unverified."""

RESERVED_IMAGES = 2
"""Images reserved for one call: an answer may hold more than one, and every one is billed."""

RESERVED_TEXT_TOKENS = 2048
"""Text and thinking tokens reserved for one call of a model without an output cap."""


class PricedRequest(Protocol):
    """What has to be known of a request to state its worst case; `ImageRequest` is one."""

    @property
    def prompt(self) -> str:
        """The text as it is sent."""
        ...

    @property
    def size(self) -> str:
        """Image size, `"1K"`."""
        ...

    @property
    def input_images(self) -> tuple[bytes, ...]:
        """Image files sent along."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One image model of the registry."""

    id: str
    """The name the provider knows it by."""

    name: str = ""
    """What people call it: `"Nano Banana 2 Lite"`."""

    aliases: tuple[str, ...] = ()
    """Other names the registry knows it by; most of them mean nothing to the provider."""

    sizes: tuple[str, ...] = ()
    """Sizes it makes, small to large; empty if nobody said."""

    aspect_ratios: tuple[str, ...] = ()
    """Aspect ratios it makes, `"16:9"`; empty if nobody said."""

    image_tokens: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    """Output tokens of one image, by size; read-only."""

    prices: tuple[PriceRow, ...] = ()
    """Dated price rows, oldest first; empty if no price is known."""

    released: date | None = None
    """First day of service; `None` if not known."""

    retires: date | None = None
    """First day without service; `None` if none is announced."""

    replacement: str = ""
    """The id to use after it retires; empty if none is known."""

    timeout_seconds: float = 300.0
    """Deadline of one call, > 0."""

    max_reserved_output_tokens: int | None = None
    """The provider's own cap on the output of one call; `None` if it has none worth reserving."""

    thinking_levels: tuple[str, ...] = ()
    """Levels that can be asked for, least first; empty if the model has none or ignores them."""

    default_thinking_level: str | None = None
    """The level the provider uses if none is asked for; `None` if there are no levels."""

    def __post_init__(self) -> None:
        """Put sizes and prices in order and close the table of tokens."""
        object.__setattr__(self, "sizes", tuple(sorted(self.sizes, key=edge_px)))
        rows = sorted(self.prices, key=lambda row: row.effective_from)
        object.__setattr__(self, "prices", tuple(rows))
        object.__setattr__(self, "image_tokens", MappingProxyType(dict(self.image_tokens)))

    def usd_per_image(
        self, size: str = "1K", *, batch: bool = False, on: date | None = None
    ) -> Decimal:
        """Return the price of one image alone, without prompt, text and thinking.

        Args:
            size: One of `sizes`.
            batch: Whether it is made through the Batch API.
            on: Day of the call; today in UTC if not given.

        Returns:
            USD, exact: `Decimal("0.0336")` for a Lite image.

        Raises:
            PriceUnknownError: There is no price for that day or no token count for that size.
        """
        row = self._price_on(on)
        return row.usd(image_tokens=self._tokens_of(size), batch=batch)

    def usd(self, usage: TokenUsage, *, batch: bool = False, on: date | None = None) -> Decimal:
        """Return what a call cost, from what the provider says it used; USD, exact.

        Args:
            usage: The token counts of the answer.
            batch: Whether the call went through the Batch API.
            on: Day of the call; today in UTC if not given.

        Raises:
            PriceUnknownError: There is no price for that day.
        """
        return self._price_on(on).usd(
            input_tokens=usage.prompt_tokens,
            text_tokens=usage.text_tokens,
            image_tokens=usage.image_tokens,
            batch=batch,
        )

    def worst_case_usd(
        self, request: PricedRequest, *, batch: bool = False, on: date | None = None
    ) -> Decimal:
        """Return what is reserved for a call before it is sent; USD, exact.

        Every byte of the prompt counts as a token and every input image as 1,120. The output is
        the provider's own cap at the image rate, or else two images of the size and 2,048 tokens
        of text: twice the usual answer, because an answer may hold more than one image.

        Args:
            request: The call to be made.
            batch: Whether it goes through the Batch API.
            on: Day of the call; today in UTC if not given.

        Raises:
            PriceUnknownError: There is no price for that day or no token count for that size.
        """
        row = self._price_on(on)
        prompt_bytes = len(request.prompt.encode("utf-8", "surrogatepass"))
        input_tokens = prompt_bytes + INPUT_IMAGE_TOKENS * len(request.input_images)
        if self.max_reserved_output_tokens is not None:
            return row.usd(
                input_tokens=input_tokens,
                image_tokens=self.max_reserved_output_tokens,
                batch=batch,
            )
        return row.usd(
            input_tokens=input_tokens,
            text_tokens=RESERVED_TEXT_TOKENS,
            image_tokens=RESERVED_IMAGES * self._tokens_of(request.size),
            batch=batch,
        )

    def worst_case_of_words_usd(
        self,
        *,
        input_bytes: int,
        input_images: int,
        max_output_tokens: int,
        on: date | None = None,
    ) -> Decimal:
        """Return what is reserved for a call that is answered in words; USD, exact.

        Args:
            input_bytes: Every text of the request in UTF-8; each byte counts as a token.
            input_images: How many images go along; each counts as 1,120 tokens.
            max_output_tokens: The cap that the request itself sets, thinking included.
            on: Day of the call; today in UTC if not given.

        Raises:
            PriceUnknownError: There is no price for that day.
        """
        return self._price_on(on).usd(
            input_tokens=input_bytes + INPUT_IMAGE_TOKENS * input_images,
            text_tokens=max_output_tokens,
        )

    def makes(self, size: str, aspect_ratio: str) -> bool:
        """Return whether the model draws images of this size and aspect ratio."""
        return size in self.sizes and aspect_ratio in self.aspect_ratios

    def why_not(self, size: str, aspect_ratio: str) -> str:
        """Return why the model does not make this shape and what it makes; empty if it does."""
        if self.makes(size, aspect_ratio):
            return ""
        if not self.sizes or not self.aspect_ratios:
            return (
                f"It is not known what {self.id} makes; add sizes and aspect_ratios under "
                f'[models."{self.id}"] in nanobatch.toml.'
            )
        return (
            f"{self.id} does not make {size} images at {aspect_ratio}; it makes the sizes "
            f"{', '.join(self.sizes)} at the aspect ratios {', '.join(self.aspect_ratios)}."
        )

    def nearest(self, size: str, aspect_ratio: str) -> tuple[str, str]:
        """Return the size and the aspect ratio nearest to these that the model makes.

        Sizes are compared by their edge in pixels (of two equally near the smaller, cheaper one),
        aspect ratios by their logarithm. The draft of a 4K image is drawn in what this returns.

        Raises:
            ConfigError: The size or ratio cannot be read, or nobody said what the model makes.
        """
        if not self.sizes or not self.aspect_ratios:
            raise ConfigError(self.why_not(size, aspect_ratio))
        wanted_px = edge_px(size)
        return (
            min(self.sizes, key=lambda made: abs(edge_px(made) - wanted_px)),
            min(self.aspect_ratios, key=lambda made: ratio_distance(made, aspect_ratio)),
        )

    def is_retired(self, on: date | None = None) -> bool:
        """Return whether the provider has switched it off by that day (today in UTC)."""
        return self.retires is not None and self.retires <= utc_day(on)

    def _price_on(self, on: date | None) -> PriceRow:
        day = utc_day(on)
        for row in reversed(self.prices):
            if row.effective_from <= day:
                return row
        table = f'[[models."{self.id}".prices]]'
        if not self.prices:
            message = f"No price of {self.id} is known; add a {table} row to nanobatch.toml."
        else:
            message = (
                f"No price of {self.id} is known for {day}, only from "
                f"{self.prices[0].effective_from} on; add an earlier {table} row to nanobatch.toml."
            )
        raise PriceUnknownError(message, model_id=self.id)

    def _tokens_of(self, size: str) -> int:
        try:
            return self.image_tokens[size]
        except KeyError:
            known = ", ".join(self.image_tokens) or "none"
            raise PriceUnknownError(
                f"It is not known how many tokens an image of size {size!r} takes on {self.id} "
                f"(known: {known}); if it makes that size, add the count under "
                f'[models."{self.id}".image_tokens] in nanobatch.toml.',
                model_id=self.id,
            ) from None
