from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nanobatch import filters
from nanobatch.candidate import Verdict
from nanobatch.errors import ConfigError, NanobatchError
from tests.filters.files import COMPLETE, candidate, grain, saved

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.candidate import Candidate

BUILT_IN = [
    "alpha",
    "aspect_ratio",
    "decodes",
    "exposure",
    "min_bytes",
    "min_size",
    "near_duplicate",
    "no_borders",
    "not_blank",
    "not_tiled",
    "sharpness",
]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path with one installed package of filters, `sharpness`."""
    (tmp_path / "nb_test_sharpness.py").write_text(
        "class Sharp:\n"
        "    name = 'sharp'\n"
        "    def __init__(self, least=1): self.least = least\n"
        "    def __call__(self, candidate): return self.least > 0\n"
        "def is_bright(candidate): return True\n"
        "limit = 7\n"
    )
    install(
        tmp_path,
        "sharpness",
        sharp="nb_test_sharpness:Sharp",
        bright="nb_test_sharpness:is_bright",
        limit="nb_test_sharpness:limit",
        gone="nb_test_sharpness:Gone",
        missing="nb_test_no_such_module:Missing",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(folder: Path, package: str, **offers: str) -> None:
    """Lay down what an installer would: a package's metadata with its entry points."""
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in offers.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[nanobatch.filters]", *lines, ""]))


def outcome(judge: filters.Filter, judged: Candidate) -> object:
    """Return the verdict, or the class of the error in its place."""
    try:
        return judge(judged)
    except NanobatchError as error:
        return type(error)


def test_the_built_in_filters_are_available_by_name() -> None:
    ours = [name for name, package in filters.available().items() if package == "nanobatch"]

    assert ours == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_filter_is_loaded_under_the_name_it_reports(name: str) -> None:
    assert getattr(filters.load(name), "name", None) == name


def test_options_go_to_the_filter() -> None:
    assert filters.load("min_bytes", min_bytes=7) == filters.MinBytes(7)


def test_a_filter_of_another_package_is_listed_with_that_package(installed: Path) -> None:
    assert filters.available()["sharp"] == "sharpness"
    assert "nb_test_sharpness" not in sys.modules


def test_a_filter_class_of_another_package_is_made_with_options(installed: Path) -> None:
    judge = filters.load("sharp", least=0)

    assert judge(candidate(b"")) is False


def test_a_ready_filter_of_another_package_is_loaded_as_it_is(installed: Path) -> None:
    assert filters.load("bright")(candidate(b"")) is True


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("min_byte", {}, "did you mean 'min_bytes'"),
        ("qqqq", {}, "aspect_ratio, "),
        ("min_bytes", {"size": 3}, "cannot be made with size"),
        ("min_bytes", {"min_bytes": -3}, "must be >= 0"),
        ("min_bytes", {"min_bytes": "3"}, "cannot be made with min_bytes"),
        ("bright", {"least": 3}, "'bright' of package sharpness is ready to use"),
        ("limit", {}, "'limit' of package sharpness is no filter"),
        ("gone", {}, "'gone' of package sharpness cannot be imported"),
        ("missing", {}, "nb_test_no_such_module"),
    ],
)
def test_a_filter_that_cannot_be_had_is_an_error_that_says_why(
    installed: Path, name: str, options: dict[str, object], what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        filters.load(name, **options)

    assert what in str(caught.value)


@pytest.mark.parametrize(("name", "other"), [("sharp", "sharpness"), ("decodes", "nanobatch")])
def test_a_name_two_packages_claim_is_listed_with_both_and_not_loaded(
    installed: Path, name: str, other: str
) -> None:
    install(installed, "blurs", **{name: "nb_test_sharpness:Sharp"})

    assert set(filters.available()[name].split(", ")) == {"blurs", other}
    with pytest.raises(ConfigError, match="claimed by") as caught:
        filters.load(name)
    assert "blurs" in str(caught.value)
    assert other in str(caught.value)


def test_the_default_filters_pass_an_ordinary_small_picture() -> None:
    picture = candidate(saved(grain((256, 256)), "PNG"))

    assert [judge(picture) for judge in filters.default()] == [Verdict.accept()] * 4


@pytest.mark.parametrize(
    ("image_bytes", "reason"),
    [
        (saved(Image.new("L", (24, 24)), "PNG"), "file too small"),
        (saved(grain((400, 100)), "PNG"), "wrong aspect ratio"),
        (saved(Image.new("L", (256, 256)), "PNG", compress_level=0), "blank picture"),
    ],
)
def test_the_default_filters_reject_what_nobody_wants(image_bytes: bytes, reason: str) -> None:
    judged = candidate(image_bytes)

    reasons = [getattr(judge(judged), "reason", "") for judge in filters.default()]

    assert next(filter(None, reasons)).startswith(f"{reason} (")


@given(
    st.sampled_from([*COMPLETE.values(), COMPLETE["png-RGB"][:-9], b"<html>"]),
    st.permutations(
        [
            filters.MinBytes(300),
            filters.Decodes(),
            filters.MinSize(width_px=24, height_px=16),
            filters.AspectRatio(),
            filters.NotBlank(),
        ]
    ),
)
def test_no_verdict_depends_on_which_filters_judged_before(
    image_bytes: bytes, judges: list[filters.Filter]
) -> None:
    shared = candidate(image_bytes)

    for judge in judges:
        assert outcome(judge, shared) == outcome(judge, candidate(image_bytes))


def test_importing_the_filters_imports_no_pillow_and_no_numpy() -> None:
    script = (
        "import sys, nanobatch.filters as f\n"
        "print(len(f.default()), sorted({'PIL', 'numpy'} & sys.modules.keys()))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "4 []\n"


def test_every_public_name_is_listed_in_order() -> None:
    assert filters.__all__ == sorted(filters.__all__)
    assert all(hasattr(filters, name) for name in filters.__all__)
