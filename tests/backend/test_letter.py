"""A letter is what the SDK would have sent, to the byte, whatever the prompt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanobatch.backend import Gemini
from nanobatch.backend.body import config_of, content_of
from nanobatch.backend.letter import dictation
from tests.backend.wire import KEY, answer_json, asking, draw, http, recording

pytestmark = pytest.mark.anyio


async def written_by_sdk(gemini: Gemini, **fields: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request that the SDK alone writes."""
    request = asking(**fields)
    with dictation() as requests:
        await gemini._opened().aio.models.generate_content(
            model=request.model,
            contents=content_of(request),
            config=config_of(request, 20, keep_body=False),
        )
    return requests[0].content, dict(requests[0].headers)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt": 'Quotes " and \\ and \n, ü, 狐, 🦊, \x00 and \u2028'},
        {"aspect_ratio": "16:9", "size": "2K", "thinking_level": "high"},
        {"model": "gemini-3-pro-image"},
    ],
)
async def test_what_arrives_is_what_the_sdk_writes(fields: dict[str, Any]) -> None:
    async with (
        recording(http(answer_json())) as server,
        Gemini(KEY, base_url=server.base_url, timeout_seconds=20) as gemini,
    ):
        body, headers = await written_by_sdk(gemini, **fields)
        await draw(gemini, **fields)

    assert server.bodies == [body]
    assert server.headers == headers


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
async def test_any_prompt_is_written_as_the_sdk_writes_it(prompt: str) -> None:
    async with Gemini(KEY, base_url="http://127.0.0.1:1", timeout_seconds=20) as gemini:
        body, _ = await written_by_sdk(gemini, prompt=prompt)
        letter = await gemini._letter(gemini._opened(), asking(prompt), 20)

    assert letter is not None
    assert letter.body(prompt) == body


async def test_the_key_is_forgotten_when_the_backend_closes() -> None:
    gemini = Gemini(KEY, base_url="http://127.0.0.1:1", timeout_seconds=20)
    async with gemini:
        await gemini._letter(gemini._opened(), asking(), 20)
        assert gemini._letters

    assert not gemini._letters


async def test_a_letter_does_not_show_the_key() -> None:
    async with Gemini(KEY, base_url="http://127.0.0.1:1", timeout_seconds=20) as gemini:
        letter = await gemini._letter(gemini._opened(), asking(), 20)

    assert letter is not None
    assert KEY not in repr(letter)
