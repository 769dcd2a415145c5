"""How a filter is tested: on the gallery, and on what it is there to find."""

from nanobatch_colourful import Colourful

from nanobatch import filters
from nanobatch.testing import check_filter


def test_it_does_nothing_that_bites_in_a_run() -> None:
    check = check_filter(Colourful())

    assert check.is_sound, check


def test_it_rejects_grey_pictures_and_not_the_good_ones() -> None:
    check = check_filter(Colourful())

    outcomes = {one.image.name: one.outcome for one in check.images}
    assert outcomes["odd: grey"] == "rejected"
    assert check.count("rejected", "good") == 0


def test_it_is_found_by_name() -> None:
    assert filters.available()["colourful"] == "nanobatch-colourful"
    assert filters.load("colourful", least=20) == Colourful(least=20)
