"""Where plots are drawn: on axes of their own that nobody has to close, or on given ones."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from io import BytesIO

from matplotlib.figure import Figure
from PIL import Image

from nanobatch import compare
from nanobatch.cost.plots.shown import ShownAxes
from tests.cost.plots.drawn import words
from tests.cost.slots import flat

LITE, QUALITY = flat(50, 35), flat(50, 45, nano_usd=134_400_000)

PLOTS = """
from nanobatch import CostModel, compare
model = CostModel(usd_per_call="0.0336", regeneration_rate="0.08", accept_rate="0.7")
plots = [model.plot, compare(model, model).plot, model.forecast(600).plot]
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter that has imported nothing yet."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_matplotlib_the_error_names_the_extra() -> None:
    finished = run(
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "from nanobatch import ConfigError\n"
        f"{PLOTS}"
        "for plot in plots:\n"
        "    try:\n"
        "        plot()\n"
        "    except ConfigError as error:\n"
        "        print(error)\n"
    )

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("pip install 'nanobatch[plot]'") == 3


def test_drawing_starts_no_pyplot_and_changes_no_settings() -> None:
    finished = run(
        "import sys, matplotlib\n"
        "names = set(matplotlib.rcParams) - {'backend'}  # reading that one chooses it\n"
        "before = {name: matplotlib.rcParams[name] for name in names}\n"
        f"{PLOTS}"
        "for plot in plots:\n"
        "    plot()._repr_png_()\n"
        "print('matplotlib.pyplot' in sys.modules, matplotlib.get_backend(auto_select=False))\n"
        "print(before == {name: matplotlib.rcParams[name] for name in names})\n"
    )

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["False", "None", "True"]


def test_a_figure_goes_when_its_axes_go() -> None:
    figure = weakref.ref(LITE.plot().get_figure(root=True))

    gc.collect()

    assert figure() is None


def test_new_axes_show_themselves_in_a_notebook_at_half_their_pixels() -> None:
    ax = LITE.plot()
    assert isinstance(ax, ShownAxes)

    shown = ax._repr_png_()

    assert shown is not None
    png, size = shown
    assert size == {"width": 720, "height": 420}
    assert Image.open(BytesIO(png)).size == (1440, 840)


def test_axes_taken_out_of_their_figure_show_nothing() -> None:
    ax = LITE.plot()
    assert isinstance(ax, ShownAxes)
    ax.remove()

    assert ax._repr_png_() is None


def test_given_axes_are_drawn_on_and_returned() -> None:
    left, right, bottom = Figure(layout="constrained").subplots(3)

    assert LITE.plot(ax=left) is left
    assert compare(LITE, QUALITY).plot(ax=right) is right
    assert LITE.forecast(600).plot(ax=bottom) is bottom
    assert left.get_xlabel() == right.get_xlabel() == "accept rate: accepted images per slot"
    assert compare(LITE, QUALITY).sentence in words(right)


def test_a_figure_that_makes_no_room_gets_no_words_that_need_it() -> None:
    ax = Figure().subplots()

    comparison = compare(LITE, QUALITY)
    comparison.plot(ax=ax)

    assert ax.get_title(loc="left") == "Lite is cheaper per accepted image"
    assert comparison.sentence not in words(ax)
    assert ax.get_legend() is not None
