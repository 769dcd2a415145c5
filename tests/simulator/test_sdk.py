"""The real google-genai SDK takes the simulator for Gemini."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio.to_thread
import httpx2
import pytest
from google import genai
from google.genai import errors, types

from nanobatch.simulator import Simulator, answers
from tests.simulator.wire import BANANA, LITE, PRO, SMALL, answering, opened

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

T = TypeVar("T")


async def with_sdk(simulator: Simulator, use: Callable[[genai.Client], T]) -> T:
    """Use a client in a thread of its own, as synchronous programs do."""

    def run() -> T:
        client = genai.Client(
            api_key="anything",
            http_options=types.HttpOptions(
                base_url=simulator.base_url, api_version="v1beta", timeout=10_000
            ),
        )
        with client:
            return use(client)

    return await anyio.to_thread.run_sync(run)


def draw(
    model: str = LITE, image: types.ImageConfig | None = None
) -> Callable[[genai.Client], types.GenerateContentResponse]:
    config = types.GenerateContentConfig(
        response_modalities=["IMAGE"],
        image_config=image,
        thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.HIGH),
    )
    return lambda client: client.models.generate_content(
        model=model, contents="a quiet aurora", config=config
    )


async def test_it_draws() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        response = await with_sdk(
            simulator, draw(image=types.ImageConfig(aspect_ratio="9:16", image_size="1K"))
        )

    usage = response.usage_metadata
    assert usage is not None
    assert usage.prompt_token_count == 4  # 14 bytes
    assert usage.candidates_tokens_details is not None
    assert usage.candidates_tokens_details[0].token_count == 1120
    assert 700 <= (usage.thoughts_token_count or 0) <= 792
    assert response.parts is not None
    blob = response.parts[0].inline_data
    assert blob is not None
    assert opened(blob.data or b"").size == (192, 344)
    assert response.candidates is not None
    assert response.candidates[0].finish_reason is types.FinishReason.STOP


async def test_it_finishes_a_draft() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        draft = await with_sdk(simulator, draw())
        assert draft.parts is not None
        contents = types.Content(parts=[types.Part(text="finish this"), draft.parts[0]])
        finish = await with_sdk(
            simulator,
            lambda client: client.models.generate_content(model=PRO, contents=contents),
        )

    assert finish.parts is not None
    blob = finish.parts[0].inline_data
    assert blob is not None
    assert blob.mime_type == "image/jpeg"
    assert opened(blob.data or b"").size == (256, 256)


async def test_it_counts_lists_and_uploads() -> None:
    def use(client: genai.Client) -> tuple[int | None, list[str | None], bytes]:
        import io

        counted = client.models.count_tokens(model=LITE, contents="12345").total_tokens
        names = [model.name for model in client.models.list()]
        file = client.files.upload(
            file=io.BytesIO(b"{}\n"),
            config=types.UploadFileConfig(display_name="x", mime_type="application/jsonl"),
        )
        assert file.name is not None
        again = client.files.get(name=file.name)
        client.files.delete(name=file.name)
        return counted, names, str(again.size_bytes).encode()

    async with Simulator() as simulator:
        counted, names, size = await with_sdk(simulator, use)

    assert counted == 2
    assert f"models/{BANANA}" in names
    assert size == b"3"


@pytest.mark.parametrize(
    ("answer", "code", "kind"),
    [
        (answers.rate_limited(3), 429, errors.ClientError),
        (answers.no_credit(), 402, errors.ClientError),
        (answers.overloaded(), 503, errors.ServerError),
        (answers.overloaded_html(), 503, errors.ServerError),
    ],
)
async def test_its_errors_are_the_errors_of_the_sdk(
    answer: object, code: int, kind: type[errors.APIError]
) -> None:
    async with Simulator(answer=answering(answer)) as simulator:  # type: ignore[arg-type]
        with pytest.raises(kind) as caught:
            await with_sdk(simulator, draw())

    assert caught.value.code == code


async def test_a_refused_size_is_a_client_error() -> None:
    async with Simulator() as simulator:
        with pytest.raises(errors.ClientError, match="Image size 4K is not supported"):
            await with_sdk(simulator, draw(image=types.ImageConfig(image_size="4K")))


async def test_the_asynchronous_client_draws_too() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        client = genai.Client(
            api_key="anything",
            http_options=types.HttpOptions(
                base_url=simulator.base_url,
                api_version="v1",
                async_client_args={"transport": httpx2.AsyncHTTPTransport()},
            ),
        )
        response = await client.aio.models.generate_content(model=LITE, contents="a fox")
        await client.aio.aclose()
        client.close()

    assert response.parts is not None
    assert response.parts[0].inline_data is not None
    assert simulator.bill.requests == 1
