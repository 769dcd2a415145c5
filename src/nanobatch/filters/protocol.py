"""What a filter is, and how the answer of any callable is read as a verdict."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import inspect
import math
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal, InvalidOperation
from numbers import Number
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast, runtime_checkable
from uuid import UUID

from nanobatch.candidate import AcceptedImage, Candidate, Verdict
from nanobatch.errors import ConfigError, FilterError

if TYPE_CHECKING:
    from nanobatch.backend import JsonRequest, Reply
    from nanobatch.models import Model

__all__ = [
    "AnyFilter",
    "Ask",
    "AskModel",
    "AsksModel",
    "CombinesFilters",
    "ComparesAgain",
    "Filter",
    "PaidFilter",
    "RemembersAccepted",
    "as_verdict",
    "asks_model",
    "checked",
    "combines",
    "compares_again",
    "fingerprint",
    "is_async",
    "name_of",
    "parts_of",
    "remembers",
    "worst_case_usd",
]


class Filter(Protocol):
    """Judges one candidate.

    A sync filter runs in a worker thread, an async one on the event loop; both under the
    pipeline's deadline. One filter object judges many candidates, several at the same time. A
    plain function, a lambda or any other callable with this signature works too.
    """

    @property
    def name(self) -> str:
        """Short name for reports, for instance `not_blank`; an attribute will do."""
        ...

    def __call__(self, candidate: Candidate, /) -> Verdict | bool | Awaitable[Verdict | bool]:
        """Return whether the candidate passes, as a bool or with a reason as a `Verdict`.

        Raises:
            BrokenImageError: The image cannot be read; it is then broken, not rejected.
            Exception: Anything else counts as a failure of the filter; the image is kept and
                judged again later.
        """
        ...


AnyFilter: TypeAlias = Filter | Callable[[Candidate], Verdict | bool | Awaitable[Verdict | bool]]
"""Whatever may stand in a list of filters."""


@runtime_checkable
class RemembersAccepted(Protocol):
    """A filter that compares with what was accepted before, for instance to find duplicates.

    Such filters run last, one candidate at a time, and the lock is kept until the verdict is
    durable: between `__call__` and `seen` no other candidate is judged.

    A candidate that passed may wait, for others of its job (`best_of`) or for its finish, while
    other images are accepted. So before it is accepted such a filter is asked once more, inside a
    combination too; the other parts of the combination are not, what they said still holds.
    """

    def seen(self, image: AcceptedImage, memo: bytes, /) -> None:
        """Learn of one accepted image; on resume of every earlier one, in the order of acceptance.

        Args:
            image: The accepted image.
            memo: `Verdict.memo` as this filter returned it for that image; empty if it was
                accepted in a run without this filter.
        """
        ...


@runtime_checkable
class ComparesAgain(RemembersAccepted, Protocol):
    """A filter that remembers and can say from its memo alone whether an image still passes.

    It is then asked so where a candidate has waited, and no picture is decoded for it.
    """

    def again(self, memo: bytes, /) -> Verdict:
        """Return the verdict of today on a candidate that passed with this memo."""
        ...


@runtime_checkable
class PaidFilter(Protocol):
    """A filter whose judgement costs money: it is reserved before the filter is called."""

    @property
    def worst_case_usd(self) -> Decimal:
        """The most one judgement can cost, USD, >= 0; what it did cost is `Verdict.usd`."""
        ...


Ask: TypeAlias = Callable[[AnyFilter, Candidate], Awaitable[Verdict]]
"""Has one filter judge a candidate, in its thread, under its deadline and at its price."""


@runtime_checkable
class CombinesFilters(Protocol):
    """A filter made of others: it is handed the pipeline's way of asking them.

    So a part has its own deadline, reserve and ledger line, as if it stood in the list itself.
    """

    @property
    def parts(self) -> tuple[AnyFilter, ...]:
        """The filters inside, in the order in which they are asked."""
        ...

    async def combine(self, candidate: Candidate, ask: Ask, /) -> Verdict:
        """Return one verdict from those of the parts; a part that is not asked is not paid."""
        ...


AskModel: TypeAlias = Callable[["JsonRequest", "Model"], Awaitable["Reply"]]
"""Sends a request to a model, at its prices: with permit, pace, reserve, ledger line and tries."""


@runtime_checkable
class AsksModel(Protocol):
    """A filter that asks a model, and is handed the pipeline's way of doing so.

    What it asks is paid for as it goes, each request with a ledger line of its own, so the
    `usd` of its verdict is not booked once more. Its `__call__` is not used by pipelines.
    """

    async def judge(self, candidate: Candidate, ask_model: AskModel, /) -> Verdict:
        """Return the verdict; the deadline of the filter does not run while a model is asked."""
        ...


def checked(value: object) -> AnyFilter:
    """Return `value` if it can be used as a filter.

    Raises:
        ConfigError: It is not callable, a filter class where an instance is needed, or it would
            learn of accepted images in a coroutine that nobody awaits.
    """
    if isinstance(value, type):
        raise ConfigError(
            f"{value.__name__} is a class, not a filter: write {value.__name__}(...)."
        )
    if not callable(value):
        raise ConfigError(
            f"A filter is a callable that takes a candidate; got {type(value).__name__}."
        )
    name = name_of(cast("AnyFilter", value))
    if not name.isprintable():
        raise ConfigError(f"The name of a filter is one printable line, not {name!r}.")
    for method in ("seen", "again"):
        if inspect.iscoroutinefunction(getattr(value, method, None)):
            raise ConfigError(
                f"{name}: `{method}` must be a plain method, not "
                "`async def`: it runs in a worker thread."
            )
    return cast("AnyFilter", value)


def name_of(filter: AnyFilter) -> str:  # noqa: A002 - the word of this library
    """Return the filter's `name`, else the name of the function or of the class."""
    for attribute in ("name", "__name__"):
        name = getattr(filter, attribute, None)
        if isinstance(name, str) and name:
            return name
    if isinstance(filter, functools.partial):
        return name_of(cast("AnyFilter", filter.func))
    return type(filter).__name__


def is_async(filter: AnyFilter) -> bool:  # noqa: A002 - the word of this library
    """Return whether calling the filter gives an awaitable at once, without blocking.

    False for a plain function that returns somebody else's coroutine: it runs in a worker thread
    like every sync filter, and the caller awaits what it returned.
    """
    if inspect.iscoroutinefunction(filter):
        return True
    if isinstance(filter, functools.partial):
        return is_async(cast("AnyFilter", filter.func))
    return inspect.iscoroutinefunction(getattr(type(filter), "__call__", None))  # noqa: B004 - asks what kind of call it is


def combines(filter: AnyFilter) -> CombinesFilters | None:  # noqa: A002 - the word of this library
    """Return the filter if it is made of others; else `None`."""
    is_made_of_others = callable(getattr(filter, "combine", None))
    return cast("CombinesFilters", filter) if is_made_of_others else None


def asks_model(filter: AnyFilter) -> AsksModel | None:  # noqa: A002 - the word of this library
    """Return the filter if it asks a model; else `None`."""
    is_one = inspect.iscoroutinefunction(getattr(type(filter), "judge", None))
    return cast("AsksModel", filter) if is_one else None


def parts_of(filter: AnyFilter) -> Iterator[AnyFilter]:  # noqa: A002 - the word of this library
    """Yield the filters that judge: the filter itself, or all that it is made of in the end."""
    combination = combines(filter)
    if combination is None:
        yield filter
    else:
        for part in combination.parts:
            yield from parts_of(part)


def remembers(filter: AnyFilter) -> bool:  # noqa: A002 - the word of this library
    """Return whether the filter, or a part of it, has a `seen` method.

    `isinstance` only looks for the attribute, and `self.seen = set()` is a natural thing to write.
    """
    return any(callable(getattr(one, "seen", None)) for one in parts_of(filter))


def compares_again(filter: AnyFilter) -> Callable[[bytes], object] | None:  # noqa: A002 - the word of this library
    """Return how a filter compares from its memo alone; `None` if it cannot."""
    again = getattr(filter, "again", None)
    return cast("Callable[[bytes], object]", again) if callable(again) else None


def worst_case_usd(filter: AnyFilter) -> Decimal:  # noqa: A002 - the word of this library
    """Return the most one call of the filter can cost, USD; 0 if it is not a `PaidFilter`.

    Of a combination it is the sum over its parts: all of them may be asked.

    Raises:
        ConfigError: Its `worst_case_usd` is not a finite amount >= 0.
    """
    combination = combines(filter)
    if combination is not None:
        return sum(map(worst_case_usd, combination.parts), Decimal(0))
    stated: object = getattr(filter, "worst_case_usd", Decimal(0))
    usd = _as_usd(stated)
    if usd is None:
        raise ConfigError(
            f"Filter {name_of(filter)}: worst_case_usd must be a finite amount of USD >= 0, "
            f"not {stated!r}."
        )
    return usd


def as_verdict(result: object, *, filter_name: str) -> Verdict:
    """Read what a filter returned (already awaited) as a verdict with clean types.

    `True` accepts, `False` rejects with the reason `rejected by <name>`; numpy's bools and floats
    count as Python's, and `usd` may be a number.

    Raises:
        FilterError: It is neither a bool nor a verdict, or a verdict with a score that is not a
            finite number, a `usd` that is not a finite amount >= 0, or a field of a wrong type.
    """
    accepted = _as_bool(result)
    if accepted is not None:
        return Verdict(accepted=accepted, reason="" if accepted else f"rejected by {filter_name}")
    if not isinstance(result, Verdict):
        raise _wrong(filter_name, f"returned {_describe(result)}; return a Verdict, True or False")
    accepted = _as_bool(result.accepted)
    if accepted is None:
        raise _wrong(filter_name, "returned a verdict whose `accepted` is not a bool")
    # A filter is other people's code, often untyped: the declared types are checked, not believed.
    reason, memo = cast("object", result.reason), cast("object", result.memo)
    if not isinstance(reason, str) or not isinstance(memo, bytes):
        raise _wrong(filter_name, "returned a verdict whose reason is no str or memo no bytes")
    usd = _as_usd(result.usd)
    if usd is None:
        raise _wrong(filter_name, f"returned usd={result.usd!r}; it must be a finite USD >= 0")
    return Verdict(
        accepted=accepted,
        reason=_storable(reason) or ("" if accepted else f"rejected by {filter_name}"),
        score=_as_score(result.score, filter_name=filter_name),
        usd=usd,
        memo=memo,
    )


def fingerprint(filter: AnyFilter) -> str:  # noqa: A002 - the word of this library
    """Return a text that is the same in every process, and another when parameters change.

    A dataclass counts with its name and its fields (those of `__init__` that take part in `repr`
    and comparison: mark secrets `repr=False` and state `compare=False`), a function with module
    and qualified name, a `functools.partial` also with its arguments, any other object with its
    class and name only. The code itself is not looked at.
    """
    text = _stable(filter)
    if len(text) <= _MAX_FINGERPRINT_CHARACTERS:
        return text
    return f"{name_of(filter)}(sha256={hashlib.sha256(text.encode()).hexdigest()})"


_MAX_FINGERPRINT_CHARACTERS = 300
_PLAIN = (str, Number, date, time, timedelta, PurePath, UUID, re.Pattern)
"""Types whose `repr` tells the value and nothing of this process; numpy's numbers are `Number`s."""


def _stable(value: object) -> str:
    """Return a text for any value without a memory address in it."""
    if isinstance(value, enum.Enum):  # before the plain values: members may be str or int too
        return f"{type(value).__qualname__}.{value.name}"
    if value is None or isinstance(value, _PLAIN):
        return repr(cast("object", value))
    if isinstance(value, (bytes, bytearray)):
        return f"sha256:{hashlib.sha256(value).hexdigest()}"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return "{" + ", ".join(sorted(f"{_stable(k)}: {_stable(v)}" for k, v in pairs)) + "}"
    if isinstance(value, AbstractSet):
        return "{" + ", ".join(sorted(map(_stable, cast("AbstractSet[object]", value)))) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_stable, cast("list[object]", value))) + "]"
    return _stable_object(value)


def _stable_object(value: object) -> str:
    if isinstance(value, functools.partial):
        whole = cast("functools.partial[object]", value)
        return f"{_stable(whole.func)}(*{_stable(whole.args)}, **{_stable(whole.keywords)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = [
            f"{field.name}={_stable(getattr(value, field.name, None))}"
            for field in dataclasses.fields(value)
            if field.init and field.repr and field.compare
        ]
        return f"{name_of(cast('AnyFilter', value))}({', '.join(named)})"
    bound_to = getattr(value, "__self__", None)
    qualname = getattr(value, "__qualname__", None)
    if isinstance(qualname, str):
        of = f" of {_stable(bound_to)}" if inspect.ismethod(value) else ""
        return f"{getattr(value, '__module__', '')}.{qualname}{of}"
    kind = type(value)
    name = getattr(value, "name", "")
    suffix = f"({name!r})" if isinstance(name, str) and name else ""
    return f"{kind.__module__}.{kind.__qualname__}{suffix}"


def _wrong(filter_name: str, what: str) -> FilterError:
    return FilterError(f"Filter {filter_name} {what}.", filter_name=filter_name)


def _describe(result: object) -> str:
    if result is None:
        return "None"
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()  # nobody will await it: no warning on top of the error
        return "an awaitable that was not awaited"
    return f"an object of type {type(result).__name__}"


def _storable(reason: str) -> str:
    """Return a reason without half characters, which a model's text may hold."""
    return reason.encode("utf-8", "backslashreplace").decode()


def _as_bool(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):
        return bool(value)
    return None


def _as_usd(value: object) -> Decimal | None:
    try:
        usd = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None
    return usd if usd.is_finite() and usd >= 0 else None


def _as_score(value: object, *, filter_name: str) -> float | None:
    if value is None:
        return None
    try:
        score = float(cast("float", value))
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if isinstance(value, str) or not math.isfinite(score):
        raise _wrong(filter_name, f"returned score={value!r}; it must be a finite number or None")
    return score
