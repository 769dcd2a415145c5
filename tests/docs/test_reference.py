"""Every public name says what its signature cannot: its units, and what it raises."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import importlib
import inspect
import re
import textwrap
import types
from typing import TYPE_CHECKING, Any

from nanobatch import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    "nanobatch",
    "nanobatch.filters",
    "nanobatch.report",
    "nanobatch.simulator",
    "nanobatch.simulator.answers",
    "nanobatch.testing",
)
MAGIC = {"__init__", "__post_init__", "__call__", "__enter__", "__aenter__", "__aexit__"}
"""What a user calls without naming it."""

HAS_UNIT = re.compile(
    r"(^|_)(accepted|bytes|calls|images|level|nano|number|px|rate|seconds|slots?|tokens|usd)(_|$)"
)
"""Words in a name that say what is counted; a number of any other name needs a docstring."""


def public() -> dict[str, Any]:
    """Return every public class and function by its dotted name."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[f"{package}.{name}"] = value
    return found


PUBLIC = public()


def functions() -> Iterator[tuple[str, Any, str]]:
    """Yield every public function and method, with the docstrings that speak for it."""
    for name, value in PUBLIC.items():
        if not inspect.isclass(value):
            yield name, value, value.__doc__ or ""
            continue
        for attribute, raw in vars(value).items():
            made: Any = raw.fget if isinstance(raw, property) else getattr(raw, "__func__", raw)
            made = inspect.unwrap(made)
            is_ours = isinstance(made, types.FunctionType) and "nanobatch" in made.__module__
            if is_ours and (not attribute.startswith("_") or attribute in MAGIC):
                yield f"{name}.{attribute}", made, f"{made.__doc__ or ''}\n{value.__doc__ or ''}"


def raised(function: Any) -> set[type[BaseException]]:
    """Return the errors that a function raises by name in its own body."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except OSError:  # written by `dataclass`
        return set()
    calls = (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise))
    names = {
        call.func.id
        for call in calls
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }
    found = (getattr(errors, name, getattr(builtins, name, None)) for name in names)
    return {one for one in found if one is not None}


def test_every_public_function_has_a_docstring() -> None:
    silent = [name for name, _, says in functions() if not says.strip()]

    assert [name for name, value in PUBLIC.items() if not value.__doc__] + silent == []


def test_what_a_function_raises_is_in_its_docstring() -> None:
    unsaid = [
        (name, error.__name__)
        for name, function, says in functions()
        for error in raised(function)
        if not any(re.search(rf"^\s+{base.__name__}:", says, re.MULTILINE) for base in error.mro())
    ]

    assert unsaid == []


def test_code_in_a_docstring_is_python_that_uses_names_of_ours() -> None:
    fences = [
        (name, textwrap.dedent(code))
        for name, _, says in functions()
        for code in re.findall(r"```python\n(.*?)```", says, re.DOTALL)
    ]

    assert len(fences) >= 4
    # `Sharp` is the filter of an author who reads `check_filter`.
    for name, code in fences:
        tree = compile(code, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
        called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        classes = {one.id for one in called if isinstance(one, ast.Name) and one.id[0].isupper()}
        assert classes <= {"Sharp"} | {dotted.rpartition(".")[2] for dotted in PUBLIC}, name


def test_every_number_says_what_it_counts() -> None:
    unsaid = [
        f"{name}.{field.name}"
        for name, value in PUBLIC.items()
        if dataclasses.is_dataclass(value)
        for field in dataclasses.fields(value)
        if not field.name.startswith("_")
        and re.search(r"\b(int|float|Decimal)\b", str(field.type))
        and not HAS_UNIT.search(field.name)
        and not re.search(rf"^ +{field.name}: ", value.__doc__ or "", re.MULTILINE)
        and field.name not in documented(value)
    ]

    assert unsaid == []


def documented(described: Any) -> set[str]:
    """Return the attributes of a class, its bases' included, that a docstring follows."""
    found: set[str] = set()
    for owner in described.__mro__:
        if not owner.__module__.startswith("nanobatch"):
            continue
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(tree, ast.ClassDef)
        for field, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                found |= {field.target.id} if said else set()
    return found
