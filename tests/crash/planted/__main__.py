"""Shows that the tests can fail: plants one bug after the other and expects each to be caught.

python -m tests.crash.planted            all of them
python -m tests.crash.planted lock fsync those whose names hold one of these words
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.crash.planted.planted import PLANTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.crash.planted.planted import PlantedBug

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "src" / "nanobatch"

KILLS = "40"
"""Enough for the random kills to meet every mistake; each bug stops at its first failure."""

SLIPS = re.compile(r"\b(NameError|ImportError|SyntaxError|IndentationError|AttributeError)\b")
"""A planted bug that does not even run proves nothing."""


class NotPlantable(Exception):  # noqa: N818 - ends the command with a sentence
    """The source has changed, so that a bug cannot be planted as it is written down."""


def plant(bug: PlantedBug, package: Path) -> None:
    """Change a copy of the package."""
    for edit in bug.edits:
        file = package / edit.file
        text = file.read_text()
        found = text.count(edit.old)
        if found != 1:
            raise NotPlantable(
                f"{bug.name!r}: its lines stand {found} times in {edit.file}, not once:\n{edit.old}"
            )
        file.write_text(text.replace(edit.old, edit.new))


def run_tests(selection: Iterable[str], source: Path) -> subprocess.CompletedProcess[str]:
    """Run a selection of the tests on a copy of the package."""
    with TemporaryDirectory() as scratch:
        return subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
                *("--basetemp", f"{scratch}/tests", *selection),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(source),
                "PYTHONDONTWRITEBYTECODE": "1",
                "NANOBATCH_CRASH_KILLS": KILLS,
                "NANOBATCH_CRASH_STRIDE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )


def verdict_on(bug: PlantedBug, selection: str) -> tuple[bool, str]:
    """Return whether a selection fails with the bug, and the line that says why."""
    with TemporaryDirectory() as folder:
        source = Path(folder)
        shutil.copytree(PACKAGE, source / "nanobatch")
        plant(bug, source / "nanobatch")
        done = run_tests([selection], source)
    reasons = re.findall(r"^E {3}.*$", done.stdout, re.MULTILINE)
    why = reasons[0][4:].strip() if reasons else done.stdout.strip().splitlines()[-1]
    has_failed = done.returncode == 1 and " failed" in done.stdout
    return has_failed and not SLIPS.search("\n".join(reasons)), why[:150]


def say(line: str) -> None:
    """Print a line at once: the whole takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    """Return the exit code: 0 if every bug is caught and the healthy package passes."""
    bugs = [bug for bug in PLANTED if not words or any(word in bug.name for word in words)]
    with TemporaryDirectory() as folder:  # a bug that cannot be planted is told at once
        for number, bug in enumerate(bugs):
            shutil.copytree(PACKAGE, Path(folder, str(number)))
            plant(bug, Path(folder, str(number)))
    selections = sorted({selection for bug in bugs for selection in bug.caught_by})
    healthy = run_tests(selections, PACKAGE.parent)
    say(f"healthy: {healthy.stdout.strip().splitlines()[-1]}")
    if healthy.returncode != 0:
        say(healthy.stdout)
        return 1
    missed = 0
    for bug in bugs:
        for selection in bug.caught_by:
            is_caught, why = verdict_on(bug, selection)
            missed += not is_caught
            say(f"{'caught' if is_caught else 'MISSED'}  {bug.name}  [{selection}]  {why}")
    say(f"{len(bugs)} bugs planted, {missed} of {sum(len(b.caught_by) for b in bugs)} missed")
    return int(missed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except NotPlantable as reason:
        sys.exit(str(reason))
