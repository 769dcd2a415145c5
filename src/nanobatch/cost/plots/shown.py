"""Axes that show their picture in a notebook, so that nobody needs pyplot and its open figures.

pyplot keeps every figure in a list of its own until somebody closes it, and chooses a backend for
the whole process. A figure made without it goes when its axes go, works in any thread and without
a screen; but a notebook prints only the words "<Axes: ...>" for its axes. So these axes bring
their picture themselves, the way the tables of this package bring their HTML.
"""

# pyright: reportUnknownMemberType=false
# matplotlib's stubs leave the `**kwargs` of most methods untyped.

from __future__ import annotations

from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["ShownAxes", "new_axes"]

WIDTH_INCHES = 7.2
"""At `DPI` 720 pixels, the column of a page of text."""

DPI = 100

MARGIN_INCHES = 0.1

SHARPNESS = 2
"""Pixels of the picture for each pixel of its size, along a side: most screens show that many."""


class ShownAxes(Axes):
    """The only axes of a figure; as the last value of a notebook's cell they show it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, float]] | None:
        """Return the whole figure as PNG and the size in pixels at which to show it."""
        figure = self.get_figure(root=True)
        if figure is None:  # the axes were removed from it
            return None
        png = BytesIO()
        figure.savefig(png, format="png", dpi=SHARPNESS * DPI)
        width, height = (round(inches * DPI) for inches in figure.get_size_inches())
        return png.getvalue(), {"width": width, "height": height}


def new_axes(height_inches: float) -> Axes:
    """Return the axes of a new figure, which is known to nobody else."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=MARGIN_INCHES, h_pad=MARGIN_INCHES)
    return figure.add_subplot(axes_class=ShownAxes)
