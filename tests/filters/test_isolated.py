from __future__ import annotations

import os
from typing import Any

import pytest

from nanobatch import BrokenImageError, ConfigError, FilterError, Verdict
from nanobatch.filters import Isolated, MinBytes, NotBlank
from nanobatch.filters.protocol import fingerprint, is_async, name_of
from tests.filters import natives
from tests.filters.files import candidate, grain, png_of, saved

PICTURE = saved(grain((64, 48)), "PNG")


async def test_a_filter_judges_in_another_process_as_it_would_here() -> None:
    judged = candidate(PICTURE)
    assert judged.image.size == (64, 48)  # decoded here already: that does not travel

    verdict = await Isolated(natives.where)(judged)

    assert verdict.accepted
    assert verdict.score != os.getpid()
    assert verdict.memo == b"(64, 48)"
    assert await Isolated(MinBytes(10**6))(judged) == MinBytes(10**6)(judged)


async def test_what_does_not_decode_is_broken_there_too() -> None:
    with pytest.raises(BrokenImageError):
        await Isolated(NotBlank())(candidate(png_of()))


@pytest.mark.parametrize("unruly", [natives.crash, natives.quit_at_once])
async def test_a_crash_is_the_filters_error_and_the_next_verdict_comes(unruly: Any) -> None:
    with pytest.raises(FilterError, match="its process died") as raised:
        await Isolated(unruly)(candidate(PICTURE))
    verdict = await Isolated(natives.where)(candidate(PICTURE))

    assert raised.value.filter_name == unruly.__name__
    assert verdict.accepted


def test_it_goes_by_the_name_and_the_parameters_of_the_filter_inside() -> None:
    isolated = Isolated(MinBytes(40_000))

    assert name_of(isolated) == "min_bytes"
    assert is_async(isolated)
    assert fingerprint(isolated) == fingerprint(Isolated(MinBytes(40_000)))
    assert fingerprint(isolated) != fingerprint(Isolated(MinBytes(50_000)))


async def _async(candidate: object) -> bool:
    return True


class _Paid:
    worst_case_usd = "0.01"

    def __call__(self, candidate: object) -> Verdict:
        return Verdict.accept()


class _Remembers:
    def seen(self, image: object, memo: bytes) -> None: ...

    def __call__(self, candidate: object) -> Verdict:
        return Verdict.accept()


@pytest.mark.parametrize("unruly", [_async, _Paid(), _Remembers(), MinBytes, "min_bytes"])
def test_what_belongs_to_the_process_of_the_run_is_refused(unruly: Any) -> None:
    with pytest.raises(ConfigError):
        Isolated(unruly)
