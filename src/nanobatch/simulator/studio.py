"""What an answer is made of: the call, its pictures, its usage and the JSON around them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanobatch.simulator import usage as usages
from nanobatch.simulator.catalogue import pixel_size
from nanobatch.simulator.chance import digest, luck
from nanobatch.simulator.drawing import Kind, choose, finish, picture
from nanobatch.simulator.drawing.files import File, stamped

if TYPE_CHECKING:
    from nanobatch.simulator.call import Call
    from nanobatch.simulator.catalogue import Drawer
    from nanobatch.simulator.usage import PromptTokens, Usage

__all__ = ["Content", "Studio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The body of one answer and what it costs."""

    body: bytes = b""
    """As it would be delivered in full."""

    usage: Usage | None = None
    """What is billed; `None` if nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """Everything with which one call can be answered; all of it is a function of the call."""

    call: Call
    """The request."""

    seed: int
    """Of the simulator."""

    drawer: Drawer
    """The model."""

    tokens: PromptTokens
    """Input tokens of the request."""

    input_images: tuple[bytes, ...]
    """Input images of the request."""

    pixels: float
    """Linear scale of drawn pictures."""

    drawings: int
    """How many motifs there may be."""

    schema: dict[str, Any] | None = None
    """What an answer in words has to look like; `None` if anything will do."""

    max_output_tokens: int | None = None
    """Where an answer in words is cut."""

    def file(self, kind: Kind = "good", *, index: int = 0, mime_type: str = "") -> File:
        """Return an image file that no other answer has.

        Args:
            kind: What is right or wrong with the picture. A good one that was asked for with an
                input image is the finished version of that image.
            index: Which image of the answer it is; each shows another motif.
            mime_type: The file format; the model's own by default.
        """
        call = self.call
        size = pixel_size(call.aspect_ratio, call.size, pixels=self.pixels)
        mime_type = mime_type or self.drawer.mime_type
        if call.is_finish and kind == "good" and index == 0:
            file = finish(self.input_images[0], size, mime_type=mime_type)
        else:
            chance = luck(self.seed, call, f"motif {index}")
            motif = choose(call.prompt, chance=chance, drawings=self.drawings)
            file = picture(motif, size, kind=kind, tier=self.drawer.tier, mime_type=mime_type)
        return stamped(file, self._mark(f"image {index}"))

    def image_usage(self, images: int = 1) -> Usage:
        """Return the usage of an answer with that many images."""
        return usages.image_usage(self.seed, self.call, self.drawer, self.tokens, images=images)

    def text_usage(self, text: str) -> Usage:
        """Return the usage of an answer that is only text."""
        return usages.text_usage(self.seed, self.call, self.drawer, self.tokens, text=text)

    def refusal_usage(self, *, is_double_counted: bool) -> Usage:
        """Return the usage of a refused image."""
        return usages.refusal_usage(
            self.seed, self.call, self.drawer, self.tokens, is_double_counted=is_double_counted
        )

    def blocked_usage(self) -> Usage:
        """Return the usage of a blocked prompt."""
        return usages.blocked_usage(self.tokens)

    def image_part(self, file: File) -> dict[str, Any]:
        """Return a part that holds an image file."""
        data = base64.b64encode(file.content).decode("ascii")
        return {"inlineData": {"mimeType": file.mime_type, "data": data}}

    def answer(
        self,
        candidate: dict[str, Any] | None,
        usage: Usage,
        *,
        is_usage_shown: bool = True,
        **extra: object,
    ) -> Content:
        """Return a complete answer around one candidate, or around none.

        Args:
            candidate: The only entry of `candidates`; no such list if `None`.
            usage: What is billed.
            is_usage_shown: Whether the answer says so.
            extra: Other top-level fields.
        """
        body: dict[str, Any] = {} if candidate is None else {"candidates": [candidate]}
        body.update(extra)
        if is_usage_shown:
            body["usageMetadata"] = usage.wire
        body["modelVersion"] = self.call.model
        body["responseId"] = self._mark("response")[:22]
        return Content(body=json.dumps(body).encode(), usage=usage)

    def parts(
        self, parts: list[dict[str, Any]], usage: Usage, *, finish_reason: str = "STOP"
    ) -> Content:
        """Return a complete answer with these parts."""
        content = {"parts": parts, "role": "model"}
        return self.answer({"content": content, "finishReason": finish_reason, "index": 0}, usage)

    def words(self, text: str) -> Content:
        """Return a complete answer in words, cut where the request says."""
        usage = self.text_usage(text)
        limit = self.max_output_tokens
        if limit is None or usage.text_tokens <= limit:
            return self.parts([{"text": text}], usage)
        thoughts = self.text_usage("").text_tokens
        kept = text.encode()[: 4 * max(0, limit - thoughts)].decode(errors="ignore")
        return self.parts([{"text": kept}], self.text_usage(kept), finish_reason="MAX_TOKENS")

    def signature(self) -> str:
        """Return a thought signature, an opaque base64 string."""
        return base64.b64encode(self._mark("signature").encode()).decode()

    def _mark(self, purpose: str) -> str:
        call = self.call
        return digest(self.seed, call.model, call.prompt, call.is_finish, call.nth, purpose)
