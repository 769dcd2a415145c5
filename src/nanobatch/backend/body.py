"""What one request says, in the SDK's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanobatch.backend.protocol import ImageRequest

if TYPE_CHECKING:
    from google.genai import types

    from nanobatch.backend.protocol import JsonRequest

__all__ = ["config_of", "content_of"]


def content_of(request: ImageRequest | JsonRequest) -> types.Content:
    """Return the user's part: the text, then the images."""
    from google.genai import types  # noqa: PLC0415 - loaded by now

    parts = [types.Part(text=request.prompt)]
    parts += [
        types.Part.from_bytes(data=image, mime_type=_mime_type(image))
        for image in request.input_images
    ]
    return types.Content(role="user", parts=parts)


def config_of(
    request: ImageRequest | JsonRequest, seconds: float, *, keep_body: bool
) -> types.GenerateContentConfig:
    """Return everything else: what is to come back, and that it is asked for exactly once.

    Args:
        request: The call.
        seconds: Its deadline.
        keep_body: Whether the SDK has to hand out the raw body of the answer.
    """
    from google.genai import types  # noqa: PLC0415 - loaded by now

    level = request.thinking_level
    wanted = _image(request) if isinstance(request, ImageRequest) else _json(request)
    return types.GenerateContentConfig(
        **wanted,
        thinking_config=(
            types.ThinkingConfig(thinking_level=types.ThinkingLevel(level)) if level else None
        ),
        # One call is one request: neither of these may send another.
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        should_return_http_response=keep_body or None,
        http_options=types.HttpOptions(
            timeout=max(1, round(seconds * 1000)),
            retry_options=types.HttpRetryOptions(attempts=1),
        ),
    )


def _image(request: ImageRequest) -> dict[str, Any]:
    from google.genai import types  # noqa: PLC0415 - loaded by now

    config = types.ImageConfig(aspect_ratio=request.aspect_ratio, image_size=request.size)
    return {"response_modalities": ["IMAGE"], "image_config": config}


def _json(request: JsonRequest) -> dict[str, Any]:
    return {
        "system_instruction": request.instruction,
        "response_mime_type": "application/json",
        "response_schema": dict(request.schema),
        "max_output_tokens": request.max_output_tokens,
    }


def _mime_type(image: bytes) -> str:
    """Name the type of an input image by its first bytes, as the API wants it named."""
    if image.startswith(b"\x89PNG"):
        return "image/png"
    if image.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return "image/webp"
    return "image/heic"
