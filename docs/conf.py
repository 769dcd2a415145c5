"""Sphinx builds the documentation with this; `nox -s docs` runs it with warnings as errors."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING

from sphinx.ext.napoleon import Config, GoogleDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "nanobatch"
author = "nanobatch developers"
copyright = author
release = importlib.metadata.version("nanobatch")

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["notebook.css"]
html_title = f"nanobatch {release}"

myst_heading_anchors = 3

# Pages that are notebooks run at every build, in a folder of their own that is removed afterwards.
nb_execution_mode = "inline"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120

default_role = "code"  # docstrings write names in single backticks
autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource"}
autoclass_content = "both"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

# `nanobatch.CostModel` and `nanobatch.cost.CostModel` are one class under two names.
suppress_warnings = ["ref.python"]

GOOGLE_STYLE = Config(napoleon_custom_sections=["Source"], napoleon_use_rtype=False)
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def read_docstring(
    app: Sphinx, what: str, name: str, described: object, options: object, lines: list[str]
) -> None:
    """Turn a docstring of ours (Google sections, Markdown code fences) into reStructuredText.

    This stands in for the napoleon extension, which takes the words before a colon in the
    docstring of an attribute for its type.
    """
    text = FENCE.sub(
        lambda fence: (
            f"{fence[1]}.. code-block:: {fence[2]}\n\n" + re.sub("(?m)^(?=.)", "   ", fence[3])
        ),
        "\n".join(lines),
    )
    kind = "method" if what in {"attribute", "data", "property"} else what
    google = GoogleDocstring(text.splitlines(), GOOGLE_STYLE, app, kind, name, described, options)
    lines[:] = google.lines()


def setup(app: Sphinx) -> None:
    """Connect the above; Sphinx calls this."""
    app.connect("autodoc-process-docstring", read_docstring)
