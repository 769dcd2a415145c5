"""Answers with images: what is accepted as it came, and what is broken and asked for once more."""

from __future__ import annotations

import base64
import hashlib
import io
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from nanobatch import Ended, Job, JobStatus, Route, filters
from nanobatch.simulator import answers
from tests.faults.story import Case, Told, reshaped, told_by, usd_of
from tests.support import PRO, pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch.simulator import Answer

PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def blob_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The first image of an answer, as the wire has it."""
    found: dict[str, Any] = answer["candidates"][0]["content"]["parts"][0]["inlineData"]
    return found


def with_file(change: Callable[[bytes], bytes], of: Answer | None = None) -> Answer:
    """An answer whose image file is changed."""

    def changed(answer: dict[str, Any]) -> None:
        blob = blob_of(answer)
        blob["data"] = base64.b64encode(change(base64.b64decode(blob["data"]))).decode()

    return reshaped(changed, of)


def with_blob(**fields: Any) -> Answer:
    """An answer with other fields beside its image; `None` leaves one out."""

    def changed(answer: dict[str, Any]) -> None:
        blob = blob_of(answer)
        for name, value in fields.items():
            blob.pop(name, None) if value is None else blob.update({name: value})

    return reshaped(changed)


def with_text(change: Callable[[str], str]) -> Answer:
    """An answer whose base64 text is changed."""

    def changed(answer: dict[str, Any]) -> None:
        blob = blob_of(answer)
        blob["data"] = change(blob["data"])

    return reshaped(changed)


def url_safe(text: str) -> str:
    assert "+" in text
    assert "/" in text
    return text.translate({ord("+"): "-", ord("/"): "_"}).rstrip("=")


def in_lines(text: str) -> str:
    return "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))


def thought_only(answer: dict[str, Any]) -> None:
    answer["candidates"][0]["content"]["parts"][0]["thought"] = True


def two_candidates(answer: dict[str, Any]) -> None:
    answer["candidates"].append({"content": {}, "finishReason": "OTHER", "index": 1})


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def still(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((300, 300), 90).convert("RGB").save(file, kind)
    return file.getvalue()


def after_header(*more: bytes) -> Callable[[bytes], bytes]:
    """Put further chunks behind the header of a PNG."""
    return lambda file: file[:33] + b"".join(more) + file[33:]


TEXT_BOMB = chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(200_000_000), 9))

# Accepted at once, with the bytes that came.
ACCEPTED = [
    Case(fault="N23", name="the other alphabet", first=(with_text(url_safe),), expected=("png",)),
    Case(fault="N23", name="base64 in lines", first=(with_text(in_lines),), expected=("png",)),
    Case(
        fault="N27",
        name="an unknown finish reason beside an image",
        first=(reshaped(lambda a: a["candidates"][0].update(finishReason="IMAGE_BLESSED")),),
        expected=("png",),
    ),
    Case(
        fault="N28",
        name="an image that is only a thought",
        first=(reshaped(thought_only),),
        expected=("png",),
    ),
    Case(
        fault="N28",
        name="a thought before the image",
        first=(answers.thought_then_image(),),
        expected=("png",),
    ),
    Case(fault="N28", name="four images", first=(answers.several_images(4),), expected=("png",)),
    Case(fault="N28", name="two candidates", first=(reshaped(two_candidates),), expected=("png",)),
    Case(fault="N28", name="text first", first=(answers.text_then_image(),), expected=("png",)),
    Case(fault="N29", name="a JPEG called PNG", first=(answers.mislabelled(),), expected=("jpg",)),
    Case(fault="N29", name="no type", first=(with_blob(mimeType=None),), expected=("png",)),
    Case(
        fault="N29",
        name="a PNG called SVG",
        first=(with_blob(mimeType="image/svg+xml"),),
        expected=("png",),
    ),
    Case(
        fault="N29",
        name="a WebP called PNG",
        first=(with_file(lambda _: still("WEBP")),),
        expected=("webp",),
    ),
    Case(
        fault="N36",
        name="bytes behind the end",
        first=(with_file(lambda file: file + b"PK\x03\x04<script>alert(1)</script>"),),
        expected=("png",),
    ),
    Case(
        fault="N37",
        name="another model answers",
        first=(reshaped(lambda a: a.update(modelVersion=PRO)),),
        expected=("png",),
    ),
]

# Broken: kept in `rejected/`, asked for once more in the same slot.
BROKEN = [
    Case(
        fault="N23", name="no base64", first=(answers.bad_base64(),), says="looks like plain text"
    ),
    Case(fault="N30", name="SVG", first=(answers.svg(),), says="looks like an SVG drawing"),
    Case(
        fault="N30",
        name="a web page",
        first=(with_file(lambda _: b"<!DOCTYPE html><p>no"),),
        says="looks like an HTML page",
    ),
    Case(
        fault="N30",
        name="GIF",
        first=(with_file(lambda _: still("GIF")),),
        says="looks like a GIF image",
    ),
    Case(
        fault="N30",
        name="junk",
        first=(with_file(lambda _: b"\x00\x01\xfe" * 50),),
        says="looks like unknown binary content",
    ),
    Case(fault="N31", name="half a PNG", first=(answers.truncated_image(),), says="cut off"),
    Case(
        fault="N31",
        name="a PNG without its end",
        first=(with_file(lambda file: file.removesuffix(PNG_END)),),
        says="cut off",
    ),
    Case(
        fault="N31",
        name="one wrong byte in a PNG",
        first=(with_file(lambda file: file[:5000] + bytes([file[5000] ^ 1]) + file[5001:]),),
        says="checksum",
    ),
    Case(
        fault="N31",
        name="half a JPEG",
        first=(with_file(lambda _: still("JPEG")[:4000]),),
        says="cut off",
    ),
    Case(
        fault="N31",
        name="half a WebP",
        first=(with_file(lambda _: still("WEBP")[:4000]),),
        says="cut off",
    ),
    Case(fault="N32", name="a bomb", first=(answers.bomb(),), says="20000x20000 px"),
    Case(
        fault="N33",
        name="an animated PNG",
        first=(answers.animated(),),
        says="animated",
    ),
    Case(
        fault="N34",
        name="no pixels",
        first=(
            with_file(lambda file: file[:8] + chunk(b"IHDR", bytes(4) + file[20:29]) + file[33:]),
        ),
        says="The header says 0x",
    ),
]


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    return told_by(ACCEPTED, tmp_path_factory.mktemp("accepted") / "run")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    return told_by(BROKEN, tmp_path_factory.mktemp("broken") / "run")


@pytest.mark.parametrize("case", [case.param for case in ACCEPTED])
def test_an_odd_answer_with_a_sound_image_is_accepted_and_costs_what_it_says(
    accepted: dict[str, Told], case: Case
) -> None:
    job = accepted[case.name]

    assert (job.ended, job.status) == (Ended.COMPLETE, JobStatus.DONE)
    assert job.kinds == ()
    (image,) = job.images
    assert image.path.suffix == f".{case.expected[0]}"
    assert hashlib.sha256(image.path.read_bytes()).hexdigest() == image.sha256
    assert len(job.bill) == 1
    assert (job.slots, job.calls) == (1, 1)
    assert job.confirmed_usd == usd_of(job.bill)
    assert job.unknown_usd == 0


@pytest.mark.fault("N28")
def test_every_image_of_an_answer_is_paid_for_and_one_is_accepted(
    accepted: dict[str, Told],
) -> None:
    several, draft = accepted["four images"], accepted["a thought before the image"]

    assert several.bill[0].image_tokens == 4 * 1120
    assert sorted(state for state, _ in several.states) == ["accepted", *["spare"] * 3]
    assert sorted(state for state, _ in draft.states) == ["accepted", "spare"]


@pytest.mark.fault("N36")
def test_bytes_behind_the_end_stay_where_they_are(accepted: dict[str, Told]) -> None:
    (image,) = accepted["bytes behind the end"].images

    assert image.path.read_bytes().endswith(PNG_END + b"PK\x03\x04<script>alert(1)</script>")
    assert image.mime_type == "image/png"


@pytest.mark.parametrize("case", [case.param for case in BROKEN])
def test_what_is_no_complete_image_is_paid_for_kept_and_asked_for_once_more(
    broken: dict[str, Told], case: Case
) -> None:
    job = broken[case.name]

    assert (job.ended, job.status) == (Ended.COMPLETE, JobStatus.DONE)
    assert len(job.bill) == 2
    assert (job.slots, job.calls) == (1, 2)
    assert job.kinds == ("broken",)
    assert case.says in job.messages[0]
    assert [state for state, _ in job.states] == ["broken", "accepted"]
    assert len(job.rejected) == 1
    assert job.rejected[0].stat().st_size > 0
    assert job.confirmed_usd == usd_of(job.bill)
    assert job.bill[0].image_tokens == 1120
    assert job.unknown_usd == 0


@pytest.mark.fault("N23")
def test_the_text_that_was_no_base64_is_kept_as_it_came(broken: dict[str, Told]) -> None:
    (file,) = broken["no base64"].rejected

    assert file.read_bytes() == b"@@@ no base64 @@@"


@pytest.mark.fault("N32")
async def test_a_bomb_beside_the_pixels_fills_no_memory(tmp_path: Path) -> None:
    async with simulator(
        answer=lambda call: with_file(after_header(TEXT_BOMB)) if call.nth == 0 else None
    ) as server:
        tracemalloc.start()
        try:
            result = await pipeline_on(server, tmp_path).run(
                [Job(id="a", prompt="x", route=Route.LITE)]
            )
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert result.jobs["a"].status is JobStatus.DONE
    assert peak < 50_000_000  # unpacked it is 200 MB
    (failure,) = result.failures
    assert failure.kind == "broken"
    assert "Decompressed data too large" in failure.message
    assert result.spend.confirmed_usd == server.bill.usd


@pytest.mark.fault("N34")
async def test_a_picture_of_another_size_or_ratio_is_rejected_and_another_slot_drawn(
    tmp_path: Path,
) -> None:
    def squeezed(file: bytes) -> bytes:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(file)).resize((300, 200)).save(buffer, "PNG", compress_level=0)
        return buffer.getvalue()

    def tiny(file: bytes) -> bytes:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(file)).resize((1, 1)).save(buffer, "PNG")
        return buffer.getvalue()

    given = (with_file(tiny), with_file(squeezed))
    async with simulator(answer=lambda call: given[call.nth] if call.nth < 2 else None) as server:
        pipeline = pipeline_on(
            server,
            tmp_path,
            filters=[filters.MinSize(width_px=64, height_px=64), filters.AspectRatio()],
        )
        result = await pipeline.run([Job(id="a", prompt="x", route=Route.LITE)])

    assert result.jobs["a"].status is JobStatus.DONE
    assert (result.cost.slots, result.cost.calls, result.cost.accepted) == (3, 3, 1)
    assert server.bill.requests == 3
    assert result.spend.confirmed_usd == server.bill.usd
    assert list(result.failures) == []  # a rejection is a verdict, not a failure


@pytest.mark.fault("N35")
async def test_one_picture_for_two_jobs_is_two_accepted_images(tmp_path: Path) -> None:
    same = still("PNG")
    async with simulator(answer=lambda _: with_file(lambda _: same)) as server:
        result = await pipeline_on(server, tmp_path).run(
            [Job(id=name, prompt=name, route=Route.LITE) for name in ("a", "b")]
        )

    first, second = result.images
    assert first.sha256 == second.sha256
    assert first.path != second.path
    assert first.path.read_bytes() == second.path.read_bytes() == same
    assert result.cost.accepted == 2


def test_the_tables_hold_jobs_of_different_names() -> None:
    assert len({case.name for case in ACCEPTED}) == len(ACCEPTED)
    assert len({case.name for case in BROKEN}) == len(BROKEN)
