"""The answer the local server gives: one image of a set size in Google's JSON."""

from __future__ import annotations

import base64
import io
import json
from functools import cache
from typing import Any, Final

from PIL import Image

__all__ = ["SIZES", "answer_with", "image_of_size"]

SIZES: Final = {"tiny": 0, "1mb": 918_000, "2mb": 1_650_000}
"""Bytes of the image file: 1.2 MB and 2.2 MB once it is base64; `tiny` is a few pixels."""

_SIDES: Final = {"tiny": 8, "1mb": 1024, "2mb": 1408}
_MODEL: Final = "gemini-3.1-flash-lite-image"


def image_of_size(size: str) -> bytes:
    """Return a PNG of one of the `SIZES`; its noise is another one every time."""
    return _png(_SIDES[size], SIZES[size])


def answer_with(image: bytes) -> bytes:
    """Return the JSON of an answer that holds an image, indented as the API writes it."""
    return json.dumps(_answer(image), indent=2).encode()


def _png(side_px: int, size_bytes: int) -> bytes:
    """Draw a picture that PNG packs to about `size_bytes`: a soft gradient under some noise."""
    low, high = 0.0, 64.0
    file = _noisy(side_px, high / 2)
    while size_bytes and high - low > 1 / 16:
        middle = (low + high) / 2
        file = _noisy(side_px, middle)
        low, high = (low, middle) if len(file) > size_bytes else (middle, high)
    return file


def _noisy(side_px: int, deviation: float) -> bytes:
    gradient = Image.linear_gradient("L").resize((side_px, side_px))
    tones = [round((tone - 128) * deviation / 64) + 128 for tone in range(256)]
    noise = _noise(side_px).point(tones)
    grey = Image.blend(gradient, noise, 0.5)
    turned = grey.transpose(Image.Transpose.ROTATE_90)
    file = io.BytesIO()
    Image.merge("RGB", (grey, turned, gradient)).save(file, "PNG", compress_level=6)
    return file.getvalue()


@cache
def _noise(side_px: int) -> Image.Image:
    return Image.effect_noise((side_px, side_px), 64)


def _answer(image: bytes) -> dict[str, Any]:
    inline = {"mimeType": "image/png", "data": base64.b64encode(image).decode()}
    return {
        "candidates": [
            {
                "content": {"parts": [{"inlineData": inline}], "role": "model"},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 12,
            "candidatesTokenCount": 1120,
            "totalTokenCount": 1132,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
        },
        "modelVersion": _MODEL,
        "responseId": "Zm9yIGEgYmVuY2htYXJr",
    }
