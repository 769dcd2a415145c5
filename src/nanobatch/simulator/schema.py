"""Answers in words: which JSON a request wants, and an object that fits it."""

from __future__ import annotations

from typing import Any, cast

from nanobatch.simulator.problem import Problem

__all__ = ["fitting", "read_output_limit", "read_schema"]

Json = dict[str, Any]

_HIGHEST = 10
_TYPES = frozenset({"OBJECT", "ARRAY", "STRING", "NUMBER", "INTEGER", "BOOLEAN"})


def read_schema(config: Json) -> Json | None:
    """Return the schema of a generation config; `None` if it names none.

    Raises:
        Problem: It has no type we know, or the answer is not to be JSON.
    """
    schema: object = config.get("responseSchema") or config.get("responseJsonSchema")
    if schema is None:
        return None
    if config.get("responseMimeType") != "application/json":
        raise Problem(
            400, "Response schema is only supported with response mime type application/json."
        )
    found = cast("Json", schema) if isinstance(schema, dict) else {}
    if str(found.get("type", "")).upper() not in _TYPES:
        raise Problem(400, "Invalid value at 'generation_config.response_schema.type'.")
    return found


def read_output_limit(config: Json) -> int | None:
    """Return `maxOutputTokens`; `None` if it is not there.

    Raises:
        Problem: It is no whole number above 0.
    """
    limit: object = config.get("maxOutputTokens")
    if limit is None:
        return None
    if not isinstance(limit, int) or limit < 1:
        raise Problem(400, "Invalid value at 'generation_config.max_output_tokens'.")
    return limit


def fitting(schema: Json, score: float) -> object:
    """Return a value that fits a schema: numbers are the score, enums say whether it is high.

    Of an enum the first word stands for a score of 5 or more of 10, the last one for less.
    Numbers keep to `minimum` and `maximum`; booleans are false.
    """
    kind = str(schema.get("type", "")).upper()
    if kind == "OBJECT":
        properties = cast("dict[str, Json]", schema.get("properties") or {})
        return {name: fitting(inner, score) for name, inner in properties.items()}
    if kind == "ARRAY":
        return [fitting(cast("Json", schema.get("items") or {}), score)]
    if kind in ("NUMBER", "INTEGER"):
        number = min(schema.get("maximum", score), max(schema.get("minimum", score), score))
        return round(number) if kind == "INTEGER" else number
    if kind == "BOOLEAN":
        return False
    words = cast("list[str]", schema.get("enum") or [])
    if not words:
        return "Simulated."
    return words[0] if score * 2 >= _HIGHEST else words[-1]
