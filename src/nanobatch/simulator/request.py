"""Reads a `generateContent` body and refuses what Gemini refuses, with Gemini's words."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from nanobatch.simulator.catalogue import nearest_ratio
from nanobatch.simulator.problem import Problem, unknown_name
from nanobatch.simulator.schema import read_output_limit, read_schema
from nanobatch.simulator.usage import PromptTokens, count_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nanobatch.simulator.catalogue import Drawer

__all__ = [
    "GenerateRequest",
    "as_object",
    "count_contents",
    "known",
    "object_in",
    "read_json",
    "read_request",
]

MAX_INPUT_IMAGES = 14
_MAX_INPUT_PX = 100_000_000
_INPUT_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_REQUEST_FIELDS = frozenset(
    {"contents", "model", "tools", "toolConfig", "safetySettings", "systemInstruction",
     "generationConfig", "cachedContent", "serviceTier", "labels", "store"}
)  # fmt: skip
_CONFIG_FIELDS = frozenset(
    {"seed", "temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences",
     "responseModalities", "responseMimeType", "responseSchema", "responseJsonSchema",
     "thinkingConfig", "imageConfig", "presencePenalty", "frequencyPenalty", "responseLogprobs",
     "logprobs", "mediaResolution", "speechConfig", "enableEnhancedCivicAnswers"}
)  # fmt: skip
_IMAGE_FIELDS = frozenset({"aspectRatio", "imageSize"})
_THINKING_FIELDS = frozenset({"includeThoughts", "thinkingLevel", "thinkingBudget"})
_PART_FIELDS = frozenset({"text", "inlineData", "fileData", "thought", "thoughtSignature",
                          "mediaResolution", "videoMetadata"})  # fmt: skip

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """A valid request to draw, or to say something of images."""

    prompt: str
    """The texts of the user's parts, joined by newlines."""

    images: tuple[bytes, ...]
    """Input images, decoded from the wire."""

    tokens: PromptTokens
    """Input tokens."""

    size: str
    """Image size; the model's 1K if none was named."""

    aspect_ratio: str
    """Image ratio."""

    thinking_level: str
    """The level that applies; empty for a model that does not think."""

    schema: Json | None = None
    """What the answer in words has to look like; `None` if anything will do."""

    max_output_tokens: int | None = None
    """Where the answer in words is cut; `None` if the request names no limit."""


def read_json(body: bytes) -> Json:
    """Return the JSON object of a request body.

    Raises:
        Problem: It is none.
    """
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "Invalid JSON payload received. Parsing terminated.") from None
    if not isinstance(parsed, dict):
        raise Problem(400, "Invalid JSON payload received. Expected an object.")
    return cast("Json", parsed)


def read_request(
    body: bytes, drawer: Drawer, *, read_file: Callable[[str], bytes | None]
) -> GenerateRequest:
    """Read and check one body; camelCase and snake_case are the same.

    Args:
        body: As received.
        drawer: The model that is to draw.
        read_file: Returns the content of an uploaded file by its name or URI.

    Raises:
        Problem: Gemini would refuse it.
    """
    request = known(read_json(body), _REQUEST_FIELDS, at="")
    config = known(object_in(request, "generationConfig"), _CONFIG_FIELDS, at="generation_config")
    image = known(
        object_in(config, "imageConfig"), _IMAGE_FIELDS, at="generation_config.image_config"
    )
    thinking = known(
        object_in(config, "thinkingConfig"),
        _THINKING_FIELDS,
        at="generation_config.thinking_config",
    )
    if config.get("candidateCount") not in (None, 1):
        raise Problem(400, "Multiple candidates is not enabled for this model")
    _check_modalities(config.get("responseModalities"), drawer)
    schema = read_schema(config)
    size = _size(image.get("imageSize"), drawer)
    level = _level(thinking.get("thinkingLevel"), drawer)
    texts, images = _read_contents(request.get("contents"), read_file)
    if not any(text.strip() for text in texts) and not images:
        raise Problem(400, "Unable to submit request because it must have a text parameter.")
    if len(images) > MAX_INPUT_IMAGES:
        raise Problem(400, f"Too many images: at most {MAX_INPUT_IMAGES} are supported.")
    shapes = [_image_size(item) for item in images]
    ratio = image.get("aspectRatio")
    if ratio is None:
        ratio = nearest_ratio(*shapes[0], among=drawer.aspect_ratios) if shapes else "1:1"
    if ratio not in drawer.aspect_ratios:
        allowed = ", ".join(drawer.aspect_ratios)
        raise Problem(
            400, f"Aspect ratio {ratio} is not supported by models/{drawer.id}. Use: {allowed}."
        )
    system = _system_texts(request.get("systemInstruction"))
    tokens = count_prompt([*system, *texts], images)
    if tokens.total > drawer.max_prompt_tokens:
        raise Problem(
            400,
            f"The input token count ({tokens.total}) exceeds the maximum number of tokens allowed "
            f"({drawer.max_prompt_tokens}).",
        )
    return GenerateRequest(
        prompt="\n".join(texts),
        images=tuple(images),
        tokens=tokens,
        size=size,
        aspect_ratio=ratio,
        thinking_level=level,
        schema=schema,
        max_output_tokens=read_output_limit(config),
    )


def count_contents(body: bytes, *, read_file: Callable[[str], bytes | None]) -> PromptTokens:
    """Return the input tokens of a `countTokens` body.

    Raises:
        Problem: It cannot be read.
    """
    request = _camel(read_json(body))
    if "generateContentRequest" in request:
        request = _camel(object_in(request, "generateContentRequest"))
    texts, images = _read_contents(request.get("contents"), read_file)
    return count_prompt([*_system_texts(request.get("systemInstruction")), *texts], images)


def _camel(fields: Json) -> Json:
    """Return the fields under their camelCase names."""
    return {re.sub(r"_([a-z0-9])", lambda m: m[1].upper(), key): fields[key] for key in fields}


def known(fields: Json, names: frozenset[str], *, at: str) -> Json:
    """Return the fields under their camelCase names.

    Raises:
        Problem: One of them is not among the names.
    """
    known = _camel(fields)
    for given, name in zip(fields, known, strict=False):
        if name not in names:
            raise unknown_name(given, at)
    return known


def object_in(fields: Json, name: str) -> Json:
    """Return a field that is an object; an empty one if it is absent.

    Raises:
        Problem: It is something else.
    """
    value = fields.get(name)
    found: Json | None = {} if value is None else as_object(value)
    if found is None:
        raise Problem(400, f"Invalid value at '{name}': expected an object.")
    return found


def as_object(value: object) -> Json | None:
    """Return a value that is an object; `None` if it is something else."""
    return cast("Json", value) if isinstance(value, dict) else None


def _as_list(value: object) -> list[Any]:
    return list(cast("Iterable[Any]", value)) if isinstance(value, list) else []


def _check_modalities(modalities: object, drawer: Drawer) -> None:
    if modalities is None or modalities == []:
        return
    wanted = "TEXT" if drawer.answers_in_words else "IMAGE"
    named = [str(modality).upper() for modality in _as_list(modalities)]
    for modality in named:
        if modality not in {"TEXT", "IMAGE"}:
            raise Problem(
                400, f"Invalid value at 'generation_config.response_modalities': \"{modality}\""
            )
    if wanted not in named or (drawer.answers_in_words and "IMAGE" in named):
        shown = ", ".join(named)
        raise Problem(
            400, f"The requested combination of response modalities ({shown}) is not supported."
        )


def _size(size: object, drawer: Drawer) -> str:
    if size is None:
        return "1K"
    if drawer.answers_in_words:
        raise Problem(400, "Image config is not supported for this model.")
    if not isinstance(size, str) or size not in drawer.image_tokens:
        allowed = ", ".join(drawer.image_tokens)
        raise Problem(
            400, f"Image size {size} is not supported by models/{drawer.id}. Use: {allowed}."
        )
    return size


def _level(level: object, drawer: Drawer) -> str:
    if level is None or drawer.ignores_level:
        return drawer.default_level
    if not isinstance(level, str) or level.upper() not in drawer.thoughts:
        raise Problem(400, f"Thinking level {level} is not supported for this model.")
    return level.upper()


def _system_texts(instruction: object) -> list[str]:
    if isinstance(instruction, str):
        return [instruction]
    parts = (as_object(instruction) or {}).get("parts")
    objects = [as_object(part) or {} for part in (_as_list(parts) or [parts])]
    return [part["text"] for part in objects if isinstance(part.get("text"), str)]


def _read_contents(
    contents: object, read_file: Callable[[str], bytes | None]
) -> tuple[list[str], list[bytes]]:
    """Return all texts and all images, in their order."""
    if not _as_list(contents):
        raise Problem(400, "* GenerateContentRequest.contents: contents is not specified")
    texts: list[str] = []
    images: list[bytes] = []
    for index, content in enumerate(_as_list(contents)):
        parts = _as_list((as_object(content) or {}).get("parts"))
        at = f"contents[{index}].parts"
        if not parts:
            raise Problem(400, f"* GenerateContentRequest.{at}: contents.parts must not be empty.")
        for number, part in enumerate(parts):
            fields = known(object_in({"part": part}, "part"), _PART_FIELDS, at=f"{at}[{number}]")
            if isinstance(fields.get("text"), str):
                texts.append(fields["text"])
            elif "inlineData" in fields:
                images.append(_inline(_camel(object_in(fields, "inlineData"))))
            elif "fileData" in fields:
                images.append(_from_file(_camel(object_in(fields, "fileData")), read_file))
            else:
                raise Problem(
                    400, f"* {at}[{number}].data: required oneof field 'data' must be set"
                )
    return texts, images


def _inline(blob: Json) -> bytes:
    _check_type(blob.get("mimeType"))
    try:
        text = str(blob.get("data", "")).translate({45: "+", 95: "/"})
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Problem(
            400,
            "Invalid value at 'inline_data.data' (TYPE_BYTES), Base64 decoding failed.",
        ) from None


def _from_file(reference: Json, read_file: Callable[[str], bytes | None]) -> bytes:
    _check_type(reference.get("mimeType"))
    uri = str(reference.get("fileUri", ""))
    content = read_file(uri)
    if content is None:
        raise Problem(403, "You do not have permission to access the File or it may not exist.")
    return content


def _check_type(mime_type: object) -> None:
    if not isinstance(mime_type, str) or mime_type not in _INPUT_TYPES:
        raise Problem(400, f"Unsupported MIME type: {mime_type}")


def _image_size(image: bytes) -> tuple[int, int]:
    """Return width and height of an input image, from its header.

    Raises:
        Problem: It is no image that can be drawn from.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image)) as opened:
                size = opened.size
    except Exception:  # noqa: BLE001 - Pillow raises many kinds on hostile bytes
        size = (0, 0)
    if not 0 < size[0] * size[1] <= _MAX_INPUT_PX:
        raise Problem(
            400,
            "Unable to process input image. Please retry or report in "
            "https://developers.generativeai.google/guide/troubleshooting",
        )
    return size
