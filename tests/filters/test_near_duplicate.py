from __future__ import annotations

import itertools
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageChops, ImageEnhance, ImageOps

from nanobatch.candidate import AcceptedImage, Verdict
from nanobatch.errors import ConfigError
from nanobatch.filters import NearDuplicate
from nanobatch.filters.perceptual_hash import perceptual_hash
from nanobatch.filters.protocol import fingerprint, remembers
from nanobatch.models import Tier
from tests.filters.files import candidate, noise, saved
from tests.filters.looks import look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def accepted(job_id: str, number: int, path: Path) -> AcceptedImage:
    return AcceptedImage(
        job_id=job_id,
        number=number,
        path=path,
        sha256="0" * 64,
        mime_type="image/png",
        width_px=1,
        height_px=1,
        model_id="m",
        tier=Tier.LITE,
        usd=Decimal(0),
        score=None,
        prompt="",
        slot=1,
    )


def judged(judge: NearDuplicate, picture: Image.Image, file_format: str = "PNG") -> Verdict:
    verdict = judge(candidate(saved(picture, file_format)))
    assert isinstance(verdict, Verdict)
    return verdict


def grained(picture: Image.Image) -> Image.Image:
    grain = noise("RGB", picture.size).point([tone // 10 for tone in range(256)] * 3)
    return ImageChops.add(picture, grain)


ALIKE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda picture: picture.resize((100, 100)),
    "larger": lambda picture: picture.resize((700, 700)),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.85),
    "duller": lambda picture: ImageEnhance.Contrast(picture).enhance(0.7),
    "grained": grained,
    "in grey": lambda picture: picture.convert("L"),
}
UNSEEN: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": ImageOps.mirror,
    "turned": lambda picture: picture.rotate(90),
    "cropped": lambda picture: picture.crop((50, 50, 206, 206)),
}


# Worked out by `imagehash.phash` of ImageHash 4.3.2 with scipy 1.17.1, on Pillow 13.0.0.
@pytest.mark.parametrize(
    ("picture", "phash"),
    [
        (Image.linear_gradient("L"), 0x8000800080008000),
        (Image.radial_gradient("L"), 0xEE989837E69AC819),
    ],
)
def test_the_hash_is_the_phash_of_other_tools(picture: Image.Image, phash: int) -> None:
    assert perceptual_hash(picture) == phash


@pytest.mark.parametrize("colour", ["black", "white", "red"])
def test_every_flat_picture_has_the_same_hash_and_no_noise_in_it(colour: str) -> None:
    found = perceptual_hash(Image.new("RGB", (77, 31), colour))

    assert found & (2**63 - 1) == 0


@pytest.mark.parametrize("how", ALIKE)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_the_same_picture_otherwise_saved_is_a_near_duplicate(
    how: str, file_format: str, tmp_path: Path
) -> None:
    misses = 0
    for number in range(20):
        judge = NearDuplicate()
        first = judged(judge, look(number))
        judge.seen(accepted("a", 1, tmp_path), first.memo)
        misses += judged(judge, ALIKE[how](look(number)), file_format).accepted

    assert misses == 0


@pytest.mark.parametrize("how", UNSEEN)
def test_a_turned_mirrored_or_cropped_picture_is_another_picture(how: str, tmp_path: Path) -> None:
    judge = NearDuplicate()
    judge.seen(accepted("a", 1, tmp_path), judged(judge, look(3)).memo)

    assert judged(judge, UNSEEN[how](look(3))).accepted


def test_different_pictures_are_far_apart(tmp_path: Path) -> None:
    hashes = [perceptual_hash(look(number)) for number in range(80)]

    nearest = min((one ^ other).bit_count() for one, other in itertools.combinations(hashes, 2))

    assert nearest > NearDuplicate().distance + 4


def test_the_reason_names_the_image_and_the_distance(tmp_path: Path) -> None:
    judge = NearDuplicate()
    judge.seen(accepted("other", 1, tmp_path), judged(judge, look(1)).memo)
    judge.seen(accepted("fox (red)", 7, tmp_path), judged(judge, look(2)).memo)

    verdict = judged(judge, look(2))

    assert verdict.reason == ("near-duplicate (of image 7 of job 'fox (red)': 0 of 64 bits differ)")


def test_what_was_only_judged_is_not_remembered() -> None:
    judge = NearDuplicate()

    assert judged(judge, look(1)).accepted
    assert judged(judge, look(1)).accepted


def test_an_image_without_a_memo_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a-1.png"
    path.write_bytes(saved(look(4), "PNG"))
    judge = NearDuplicate()

    judge.seen(accepted("a", 1, path), b"")

    assert judged(judge, look(4), "JPEG").reason.startswith("near-duplicate (of image 1 of job 'a'")


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_a_file_that_cannot_be_read_is_named_and_costs_nothing_else(
    content: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a-1.png"
    if content is not None:
        path.write_bytes(content)
    judge = NearDuplicate()

    with caplog.at_level(logging.WARNING, logger="nanobatch"):
        judge.seen(accepted("a", 1, path), b"")

    assert judged(judge, look(4)).accepted
    assert "near_duplicate cannot compare with a-1.png" in caplog.text


def test_an_image_that_is_told_twice_is_kept_once(tmp_path: Path) -> None:
    judge = NearDuplicate()
    memo = judged(judge, look(1)).memo

    for _ in range(3):
        judge.seen(accepted("a", 1, tmp_path), memo)
    judge.seen(accepted("b", 1, tmp_path), memo)

    assert len(judge._accepted.index) == 2


@pytest.mark.parametrize("distance", [-1, 16, True, 2.0, "6"])
def test_a_distance_that_cannot_be_meant_is_refused(distance: Any) -> None:
    with pytest.raises(ConfigError, match="from 0 to 15"):
        NearDuplicate(distance=distance)


def test_its_fingerprint_is_its_distance_and_not_what_it_remembers(tmp_path: Path) -> None:
    judge = NearDuplicate(distance=3)
    judge.seen(accepted("a", 1, tmp_path), bytes(8))

    assert fingerprint(judge) == "near_duplicate(distance=3)"
    assert judge == NearDuplicate(distance=3)
    assert remembers(judge)
