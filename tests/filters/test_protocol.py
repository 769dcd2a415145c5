from __future__ import annotations

import asyncio
import functools
import math
import re
import subprocess
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.candidate import AcceptedImage, Candidate, Verdict
from nanobatch.errors import ConfigError, FilterError
from nanobatch.filters import AnyOf, AspectRatio, Decodes, MinBytes, MinSize, NotBlank, OnlyFor
from nanobatch.filters.protocol import (
    as_verdict,
    checked,
    fingerprint,
    is_async,
    name_of,
    remembers,
    worst_case_usd,
)
from tests.filters.files import candidate

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Mood(Enum):
    CALM = "calm"
    WILD = "wild"


@dataclass(frozen=True)
class Tuned:
    """A filter with a parameter of any kind, a secret and a cache."""

    name = "tuned"
    value: object
    secret: str = field(default="", repr=False)
    cache: list[int] = field(default_factory=list[int], init=False)

    def __call__(self, candidate: Candidate, /) -> bool:
        return True


class Plain:
    def __call__(self, candidate: Candidate, /) -> bool:
        return True

    def judge(self, candidate: Candidate, /) -> bool:
        return True


class Asking:
    name = "asking"

    async def __call__(self, candidate: Candidate, /) -> Verdict:
        return Verdict.accept()


class Paid(Plain):
    name = "paid"

    def __init__(self, worst_case_usd: Any) -> None:
        self.worst_case_usd = worst_case_usd


def nothing(candidate: Candidate) -> bool:
    return True


async def nothing_async(candidate: Candidate) -> bool:
    return True


def hands_on(candidate: Candidate) -> Awaitable[bool]:
    return nothing_async(candidate)


def with_limit(limit: int, candidate: Candidate) -> bool:
    return True


async def with_limit_async(limit: int, candidate: Candidate) -> bool:
    return True


@pytest.mark.parametrize("true", [True, np.bool_(True), Verdict.accept()])
def test_true_in_any_form_accepts(true: object) -> None:
    assert as_verdict(true, filter_name="f") == Verdict(accepted=True, reason="")


@pytest.mark.parametrize(
    "false",
    [False, np.bool_(False), np.float64(3) > 4, Verdict(accepted=False)],
)
def test_false_in_any_form_rejects_by_the_name_of_the_filter(false: object) -> None:
    assert as_verdict(false, filter_name="sharp") == Verdict.reject("rejected by sharp")


def test_a_verdict_comes_back_with_clean_types() -> None:
    untyped: Any = Verdict(
        accepted=np.bool_(True),  # type: ignore[arg-type] # what untyped filters return
        score=np.float32(0.5),  # type: ignore[arg-type] # as above
        usd=0.002,  # type: ignore[arg-type] # as above
        memo=b"hash",
    )

    verdict = as_verdict(untyped, filter_name="f")

    assert verdict == Verdict(accepted=True, score=0.5, usd=Decimal("0.002"), memo=b"hash")
    assert type(verdict.accepted) is bool
    assert type(verdict.score) is float
    assert type(verdict.usd) is Decimal


def test_the_reason_of_a_verdict_is_kept() -> None:
    assert as_verdict(Verdict.reject("too dark"), filter_name="f").reason == "too dark"


@pytest.mark.parametrize(
    ("result", "what"),
    [
        (None, "returned None"),
        (1, "type int"),
        (0, "type int"),
        (np.int64(1), "type int64"),
        (np.array([True]), "type ndarray"),
        ("yes", "type str"),
        ((True, "reason"), "type tuple"),
    ],
)
def test_what_is_no_verdict_is_the_filters_error(result: object, what: str) -> None:
    with pytest.raises(FilterError, match=what) as caught:
        as_verdict(result, filter_name="mine")

    assert caught.value.filter_name == "mine"
    assert "Filter mine " in str(caught.value)


def test_a_coroutine_nobody_awaited_is_an_error_and_leaves_no_warning() -> None:
    forgotten = nothing_async(candidate(b""))

    with pytest.raises(FilterError, match="awaitable that was not awaited"):
        as_verdict(forgotten, filter_name="f")

    with pytest.raises(RuntimeError, match="cannot reuse"):  # closed: Python will not warn of it
        forgotten.send(None)


def test_a_future_nobody_awaited_is_an_error() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()

    with pytest.raises(FilterError, match="awaitable that was not awaited"):
        as_verdict(future, filter_name="f")
    loop.close()


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"accepted": 1}, "`accepted` is not a bool"),
        ({"accepted": None}, "`accepted` is not a bool"),
        ({"reason": None}, "reason is no str"),
        ({"memo": "text"}, "memo no bytes"),
        ({"usd": Decimal(-1)}, "usd="),
        ({"usd": Decimal("NaN")}, "usd="),
        ({"usd": Decimal("sNaN")}, "usd="),
        ({"usd": math.inf}, "usd=inf"),
        ({"usd": None}, "usd=None"),
        ({"usd": "a lot"}, "usd="),
        ({"score": math.nan}, "score=nan"),
        ({"score": -math.inf}, "score=-inf"),
        ({"score": "0.5"}, "score='0.5'"),
        ({"score": 10**400}, "score="),
        ({"score": []}, "score="),
    ],
)
def test_a_verdict_with_a_field_of_no_use_is_the_filters_error(
    fields: dict[str, Any], what: str
) -> None:
    untyped: dict[str, Any] = {"accepted": True} | fields

    with pytest.raises(FilterError, match=re.escape(what)):
        as_verdict(Verdict(**untyped), filter_name="f")


@given(st.booleans(), st.text(), st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_reading_a_verdict_never_turns_a_rejection_into_an_acceptance_nor_back(
    accepted: bool,
    reason: str,
    score: float | None,
) -> None:
    verdict = Verdict(accepted=accepted, reason=reason, score=score)

    read = as_verdict(verdict, filter_name="f")

    assert (read.accepted, read.score) == (accepted, score)
    assert read.accepted or read.reason
    assert as_verdict(read, filter_name="g") == read


@pytest.mark.parametrize(
    ("anything", "name"),
    [
        (Decodes(), "decodes"),
        (MinBytes(5), "min_bytes"),
        (MinSize(), "min_size"),
        (AspectRatio(), "aspect_ratio"),
        (NotBlank(), "not_blank"),
        (nothing, "nothing"),
        (Plain(), "Plain"),
        (Plain().judge, "judge"),
        (functools.partial(with_limit, 3), "with_limit"),
        (Asking(), "asking"),
    ],
)
def test_every_filter_has_a_name(anything: Any, name: str) -> None:
    assert name_of(anything) == name


def test_an_empty_name_counts_as_none() -> None:
    nameless = Plain()
    nameless.name = ""  # type: ignore[attr-defined] # as an untyped filter may do

    assert name_of(nameless) == "Plain"


@pytest.mark.parametrize(
    "anything", [Asking(), nothing_async, functools.partial(with_limit_async, 3)]
)
def test_an_async_filter_is_known_without_calling_it(anything: Any) -> None:
    assert is_async(anything)


@pytest.mark.parametrize(
    "anything",
    [Plain(), nothing, functools.partial(with_limit, 3), hands_on, Decodes()],
)
def test_a_plain_callable_is_not_async_even_if_it_returns_a_coroutine(anything: Any) -> None:
    assert not is_async(anything)


def test_a_filter_remembers_if_seen_is_a_method_not_an_attribute() -> None:
    class Remembers(Plain):
        def seen(self, image: AcceptedImage, memo: bytes, /) -> None: ...

    class HasSeen(Plain):
        seen = frozenset[str]()

    assert remembers(Remembers())
    assert not remembers(HasSeen())
    assert not remembers(nothing)


@pytest.mark.parametrize("usd", [Decimal("0.01"), "0.01", 0.01])
def test_the_worst_case_of_a_paid_filter_is_read_as_exact_money(usd: object) -> None:
    assert worst_case_usd(Paid(usd)) == Decimal("0.01")


def test_a_filter_that_states_no_price_is_free() -> None:
    assert worst_case_usd(Decodes()) == 0
    assert worst_case_usd(nothing) == 0


@pytest.mark.parametrize("usd", [None, -1, Decimal("NaN"), math.inf, "free", True])
def test_a_worst_case_that_is_no_amount_is_refused_by_name(usd: object) -> None:
    with pytest.raises(ConfigError, match="Filter paid: worst_case_usd"):
        worst_case_usd(Paid(usd))


def test_a_callable_is_a_filter() -> None:
    decodes = Decodes()

    assert checked(decodes) is decodes
    assert checked(nothing) is nothing


@pytest.mark.parametrize(
    ("value", "what"),
    [(Decodes, r"write Decodes\(\.\.\.\)"), ("decodes", "got str"), (None, "got NoneType")],
)
def test_what_cannot_be_called_or_is_only_the_class_is_refused(value: object, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        checked(value)


def test_the_fingerprint_of_a_dataclass_is_its_name_and_fields() -> None:
    assert fingerprint(MinBytes(5)) == "min_bytes(min_bytes=5)"
    assert fingerprint(Decodes()) == "decodes()"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, 1.0),
        ("1", 1),
        (None, "None"),
        (True, 1),
        (0.1, 0.2),
        (np.float32(0.1), np.float32(0.2)),
        (np.int64(1), np.int64(2)),
        (Decimal("0.10"), Decimal("0.1")),
        (b"a", b"b"),
        (Mood.CALM, Mood.WILD),
        (Path("a"), Path("b")),
        (re.compile("a"), re.compile("b")),
        ((1, 2), (2, 1)),
        ([1, (2,)], [1, (3,)]),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (nothing, nothing_async),
        (functools.partial(with_limit, 1), functools.partial(with_limit, 2)),
        (MinBytes(1), MinBytes(2)),
    ],
)
def test_the_fingerprint_changes_with_a_parameter(one: object, other: object) -> None:
    assert fingerprint(Tuned(one)) == fingerprint(Tuned(one))
    assert fingerprint(Tuned(one)) != fingerprint(Tuned(other))


def test_the_fingerprint_leaves_secrets_and_state_out() -> None:
    plain, other = Tuned(1), Tuned(1, secret="hush")
    other.cache.append(4)

    assert fingerprint(plain) == fingerprint(other) == "tuned(value=1)"


def test_the_order_of_a_mapping_or_set_does_not_count() -> None:
    assert fingerprint(Tuned({"a": 1, "b": 2})) == fingerprint(Tuned({"b": 2, "a": 1}))
    assert fingerprint(Tuned({"a", "b", "c"})) == fingerprint(Tuned({"c", "b", "a"}))


def test_a_long_fingerprint_is_shortened_to_a_digest() -> None:
    long, longer = fingerprint(Tuned("x" * 1_000)), fingerprint(Tuned("x" * 1_001))

    assert long.startswith("tuned(sha256=")
    assert len(long) < 100
    assert long != longer


def test_the_fingerprint_of_anything_else_is_its_place_and_name() -> None:
    assert fingerprint(nothing) == f"{__name__}.nothing"
    assert fingerprint(Plain()) == f"{__name__}.Plain"
    assert fingerprint(Asking()) == f"{__name__}.Asking('asking')"
    assert fingerprint(Plain().judge) == f"{__name__}.Plain.judge of {__name__}.Plain"


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    script = (
        "from nanobatch.filters.protocol import fingerprint\n"
        "from nanobatch.filters import AspectRatio\n"
        "import functools\n"
        "class Odd:\n"
        "    def __call__(self, c): return True\n"
        "    def judge(self, c): return True\n"
        "print(fingerprint(functools.partial(print, {'a', 'b', 'c'}, sep=Odd())))\n"
        "print(fingerprint(AspectRatio()), fingerprint(Odd()), fingerprint(Odd().judge))\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(printed) == 1
    assert "0x" not in printed.pop()


@pytest.mark.parametrize("name", ["half \ud83d", "two\nlines"])
def test_a_name_that_cannot_be_stored_and_shown_is_refused(name: str) -> None:
    class Named(Plain):
        def __init__(self) -> None:
            self.name = name

    with pytest.raises(ConfigError, match="one printable line, not "):
        checked(Named())


@pytest.mark.parametrize("method", ["seen", "again"])
def test_a_filter_that_would_learn_in_a_coroutine_nobody_awaits_is_refused(method: str) -> None:
    class Learns(Plain):
        async def method(self, *args: object) -> None:
            """Never runs."""

    setattr(Learns, method, Learns.method)

    with pytest.raises(ConfigError, match=rf"Learns: `{method}` must be a plain method"):
        checked(Learns())
    with pytest.raises(ConfigError, match="must be a plain method"):
        AnyOf(MinBytes(), OnlyFor("x", Learns()))
