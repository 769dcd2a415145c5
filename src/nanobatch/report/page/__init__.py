"""A run as one HTML page: what was drawn, what it cost, and what did not work."""

from nanobatch.report.page.write import write_html

__all__ = ["write_html"]
