"""Pictures of what an image costs, drawn with matplotlib when it is there."""

from nanobatch.cost.plots.amounts import plot_forecast
from nanobatch.cost.plots.curves import plot_comparison, plot_model

__all__ = ["plot_comparison", "plot_forecast", "plot_model"]
