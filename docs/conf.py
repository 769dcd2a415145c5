"""Sphinx builds the documentation with this; `nox -s docs` runs it with warnings as errors."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import typing

from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util import logging

import nanobatch

if typing.TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "nanobatch"
author = "nanobatch developers"
copyright = author
release = importlib.metadata.version("nanobatch")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
autosummary_generate = False  # the pages have the entries; a summary only lists and links them
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

# A type in a signature without an entry is a wrong name, or one that was left out; except:
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(annotated_types|collections|contextlib|datetime|decimal|pathlib|pydantic)\..*"),
    ("py:.*", r"filelock\.BaseFileLock|genai\.Client"),
    ("py:.*", "AbstractContextManager|Axes|Decimal|Image|NoneType|Path|date|datetime"),
    ("py:.*", r"(Mapping|tuple)\[\w+"),  # one half of `tuple[str, ...]`, as Sphinx splits it
    # Aliases and protocols of ours that say in a signature what it takes, and are not public.
    ("py:class", "_HasJobs|_T|Ask|Content|Delivery|Jobs|KeepRejected|Measurement|Number"),
    ("py:class", "PricedRequest|Progress|Question|Setting|Studio|ThumbnailPlace|Unit|Usage"),
    ("py:class", "Watcher|Winner|Writer"),
    (
        "py:.*",
        r"Artist|Done|Drawer|Files|InputLine|Picks|Problem|Schedule|TaskGroup|anyio\.Lock",
    ),  # inside the simulator
]

# `nanobatch.CostModel` and `nanobatch.cost.CostModel` are one class under two names.
suppress_warnings = ["ref.python"]

PUBLIC = (
    "nanobatch",
    "nanobatch.filters",
    "nanobatch.report",
    "nanobatch.simulator",
    "nanobatch.simulator.answers",
    "nanobatch.testing",
)
"""The packages whose names have an entry each."""

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


def show_plain_types(model: type) -> None:
    """Let a pydantic model show the type of each field, without its validators."""
    model.__annotations__ = typing.get_type_hints(model)
    parameters = inspect.signature(model).parameters.values()
    model.__signature__ = inspect.Signature(
        [one.replace(annotation=model.__annotations__[one.name]) for one in parameters]
    )


def find_names_without_entry(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of every public name that the reference leaves out; a warning fails the build."""
    entries = env.domaindata["py"]["objects"]
    for package in PUBLIC:
        for name in importlib.import_module(package).__all__:
            if f"{package}.{name}" not in entries and f"{package}.{name}" not in PUBLIC:
                logging.getLogger("reference").warning(
                    "%s.%s is public and has no entry in the reference", package, name
                )


def setup(app: Sphinx) -> None:
    """Connect the above; Sphinx calls this."""
    show_plain_types(nanobatch.Job)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("env-check-consistency", find_names_without_entry)
