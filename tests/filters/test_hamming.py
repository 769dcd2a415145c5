from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.filters.hamming import MAX_DISTANCE, HashIndex

HASHES = st.integers(0, 2**64 - 1)


def by_looking_at_all(hashes: list[int], wanted: int, distance: int) -> tuple[int, int] | None:
    near = [((one ^ wanted).bit_count(), place) for place, one in enumerate(hashes)]
    nearest = min((pair for pair in near if pair[0] <= distance), default=None)
    return None if nearest is None else (nearest[1], nearest[0])


@given(
    wanted=HASHES,
    distance=st.integers(0, MAX_DISTANCE),
    others=st.lists(HASHES, max_size=20),
    flips=st.lists(st.sets(st.integers(0, 63), max_size=17), max_size=20),
)
def test_it_finds_what_looking_at_every_hash_finds(
    wanted: int, distance: int, others: list[int], flips: list[set[int]]
) -> None:
    hashes = [*others, *(wanted ^ sum(1 << bit for bit in bits) for bits in flips)]
    index = HashIndex(distance)
    for one in hashes:
        index.add(one)

    assert index.nearest(wanted) == by_looking_at_all(hashes, wanted, distance)


@pytest.mark.parametrize("distance", [0, 3, 4, 7, 8, 11, 12, 15])
def test_the_last_bit_within_the_distance_is_found_however_the_bits_are_spread(
    distance: int,
) -> None:
    chance = random.Random(distance)
    index = HashIndex(distance)
    wanted = chance.getrandbits(64)
    index.add(wanted)

    for _ in range(200):
        bits = chance.sample(range(64), distance + 1)
        within = wanted ^ sum(1 << bit for bit in bits[1:])
        assert index.nearest(within) == (0, distance)
        assert index.nearest(within ^ 1 << bits[0]) is None


def test_a_look_up_among_a_hundred_thousand_takes_less_than_five_milliseconds() -> None:
    chance = random.Random(5)
    index = HashIndex(6)
    for _ in range(100_000):
        index.add(chance.getrandbits(64))

    started = time.process_time()
    for _ in range(50):
        index.nearest(chance.getrandbits(64))

    assert len(index) == 100_000
    assert (time.process_time() - started) / 50 < 0.005


def test_it_tells_every_place_of_a_hash() -> None:
    index = HashIndex(6)
    for one in (5, 7, 5, 5 ^ 1 << 63, 5):
        index.add(one)

    assert list(index.places_of(5)) == [4, 2, 0]
    assert list(index.places_of(6)) == []
