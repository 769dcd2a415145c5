"""Prints how well each technical filter judges the gallery, and what the filters cost.

Run it with `nox -s filters`. With `-- --pictures FOLDER` it also draws what the documentation
shows: examples of each fault, and everything that is wrongly judged.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmarks.filters.gallery import GOOD, Labelled, gallery, labelled
from benchmarks.filters.sheet import contact_sheet
from nanobatch import filters
from nanobatch.errors import BrokenImageError
from nanobatch.simulator.drawing.scenes import SCENES, Motif, paint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanobatch import Candidate, Verdict

TECHNICAL = (
    filters.Decodes(),
    filters.MinSize(width_px=160, height_px=160),
    filters.AspectRatio(),
    filters.NotBlank(),
    filters.Exposure(),
    filters.Sharpness(),
    filters.NotTiled(),
    filters.NoBorders(),
    filters.Alpha(),
)
"""As they are by default, but for `MinSize`: the pictures of the gallery are small."""

_EXAMPLES = 6
_REPEATS = 15


def main() -> int:
    """Print the tables; the exit code is 1 if a filter is not good enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder in which to draw contact sheets")
    pictures: Path | None = parser.parse_args().pictures
    everything = list(gallery())
    good = sum(one.fault == GOOD for one in everything)
    print(f"Gallery: {len(everything)} pictures, {good} of them good\n")
    wrong: list[tuple[Labelled, str]] = []
    is_enough = True
    for is_held_out in (False, True):
        half = [one for one in everything if one.is_held_out == is_held_out]
        print("Held-out half" if is_held_out else "Half on which thresholds were set")
        print(f"{'filter':14}{'faulty':>8}{'caught':>8}{'recall':>8}{'good':>8}{'rejected':>10}")
        for one in TECHNICAL:
            recall, false_share, mistakes = _judge(one, half)
            wrong += mistakes
            is_enough &= not is_held_out or (recall >= 0.95 and false_share <= 0.02)  # noqa: PLR2004 - what the filters have to reach
        print()
    print("Wrongly judged:")
    for picture, what in wrong:
        print(f"  {picture.source}{', ' * bool(picture.detail)}{picture.detail}: {what}")
    if pictures is not None:
        _draw(pictures, everything, wrong)
    print("\nCPU of one 1024x1024 picture, ms (median)")
    _print_costs()
    return 0 if is_enough else 1


def _judge(
    judge: filters.Filter, half: Sequence[Labelled]
) -> tuple[float, float, list[tuple[Labelled, str]]]:
    """Print the line of one filter; return its recall, its false rejections and its mistakes."""
    faulty = [one for one in half if one.fault == judge.name]
    good = [one for one in half if one.fault == GOOD]
    missed = [one for one in faulty if not _reason(judge, one.candidate)]
    rejected = [(one, reason) for one in good if (reason := _reason(judge, one.candidate))]
    recall = 1 - len(missed) / len(faulty)
    share = len(rejected) / len(good)
    print(
        f"{judge.name:14}{len(faulty):8}{len(faulty) - len(missed):8}{recall:8.1%}"
        f"{len(good):8}{len(rejected):4} {share:5.1%}"
    )
    return recall, share, [*((one, f"not seen by {judge.name}") for one in missed), *rejected]


def _reason(judge: filters.Filter, candidate: Candidate) -> str:
    """Return why a picture is rejected or broken; empty if it passes."""
    try:
        verdict = cast("Verdict", judge(candidate))
    except BrokenImageError as error:
        return str(error)
    return "" if verdict.accepted else verdict.reason


def _draw(
    folder: Path, everything: Iterable[Labelled], wrong: Iterable[tuple[Labelled, str]]
) -> None:
    """Draw a few good pictures, a few of each fault, and all that is wrongly judged."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[Labelled]] = {}
    for one in everything:
        if one.is_held_out and one.fault not in ("decodes", "min_size", "aspect_ratio"):
            rows.setdefault(one.fault or "good", []).append(one)
    examples = {
        name: [row[number * len(row) // _EXAMPLES] for number in range(_EXAMPLES)]
        for name, row in rows.items()
    }
    contact_sheet(
        {name: [one.candidate.image for one in row] for name, row in examples.items()}
    ).save(folder / "filters.webp", quality=70, method=6)
    mistakes = [one.candidate.image for one, _ in wrong]
    if mistakes:
        contact_sheet({"wrongly judged": mistakes}).save(
            folder / "filters-wrong.webp", quality=70, method=6
        )


def _print_costs() -> None:
    """Print what decoding takes, and what each filter and each set takes after it."""
    size = (1024, 1024)
    motifs = [paint(Motif(scene=scene, variation=1), size, tier="lite") for scene in SCENES]
    sets = {
        "filters.default()": filters.default(),
        "all of them": (filters.MinBytes(10_000), *TECHNICAL),
        **{f"{one.name} alone": (one,) for one in TECHNICAL},
    }
    for file_format in ("PNG", "JPEG"):
        candidates = [
            labelled(motif, "", "", GOOD, is_held_out=True, file_format=file_format).candidate
            for motif in motifs
        ]
        print(f"{file_format:6}{'decode':20}{_median_ms(candidates, None):8.2f}")
        for name, chosen in sets.items():
            print(f"{'':6}{name:20}{_median_ms(candidates, chosen):8.2f}")


def _median_ms(candidates: Sequence[Candidate], chosen: Sequence[filters.Filter] | None) -> float:
    """Return the median CPU time of filters on a picture that is decoded, or of decoding it."""
    times: list[float] = []
    for number in range(_REPEATS * len(candidates)):
        candidate = dataclasses.replace(candidates[number % len(candidates)])  # nothing decoded yet
        if chosen is not None:
            candidate.image.load()
        began = time.thread_time()
        candidate.image.load()
        for one in chosen or ():
            one(candidate)
        times.append(time.thread_time() - began)
    return statistics.median(times) * 1000


if __name__ == "__main__":
    sys.exit(main())
