"""Judges a checkpoint from outside: its files, what was told aloud, and the provider's bill.

Every check is by job, because a job's prompt is on the bill; sums alone would let a call that was
booked twice hide behind one that was forgotten.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch import Checkpoint, CheckpointError, CheckpointReader
from tests.crash.world import job_of_prompt

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal
    from pathlib import Path

    from nanobatch.simulator import Bill, BillLine
    from tests.crash.harness import Told

__all__ = ["Judge", "Sight", "file_sha256"]

MOST_IMAGES = 2
"""Images the faulty provider ever puts into one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the judge saw after one round."""

    images: int
    confirmed_nano: int
    unknown_nano: int
    bill_nano: int
    exact_jobs: int
    """Jobs without unknown money, whose bill is what the ledger says to the nano-dollar."""


@dataclass(slots=True)
class _Call:
    """One call as the ledger tells it."""

    model: str
    slot: int
    confirmed_nano: int = 0
    unknown_nano: int = 0


@dataclass(slots=True)
class _Ledger:
    """The lines of one job."""

    calls: dict[int, _Call] = field(default_factory=dict[int, _Call])
    accepted_slots: set[int] = field(default_factory=set[int])
    spoiled: list[str] = field(default_factory=list[str])


class Judge:
    """Looks at a checkpoint after every round and remembers what it saw."""

    def __init__(self, folder: Path, bill: Bill) -> None:
        self._folder = folder
        self._bill = bill
        self._told: list[Told] = []
        self._seen: dict[tuple[str, int], tuple[Path, str]] = {}
        self._done: dict[str, tuple[int, int]] = {}
        self.last = Sight(images=0, confirmed_nano=0, unknown_nano=0, bill_nano=0, exact_jobs=0)
        self.rounds_without_a_cut_call = 0

    def look(self, told: Iterable[Told], wants: dict[str, int]) -> Sight:
        """Check everything that must be true after any kill.

        Args:
            told: What the last run told before it ended or was killed.
            wants: How many images each job wants by now.
        """
        self._told += told
        try:
            reading = Checkpoint.read(self._folder)
        except CheckpointError:  # killed before there was a ledger
            assert not self._told
            assert self._bill.requests == 0
            return self.last
        with reading as checkpoint:
            ledgers = _ledgers(checkpoint)
            candidates = Counter(one.job_id for one in checkpoint.candidates())
            accepted = self._check_images(checkpoint, wants)
            confirmed_nano = _nano(checkpoint.spend.confirmed_usd)
            unknown_nano = _nano(checkpoint.spend.unknown_usd)
        exact_jobs = self._check_jobs(ledgers, candidates)
        self._check_nothing_is_bought_for_the_done(accepted, wants)
        sight = Sight(
            images=sum(accepted.values()),
            confirmed_nano=confirmed_nano,
            unknown_nano=unknown_nano,
            bill_nano=self._bill.nano_usd,
            exact_jobs=exact_jobs,
        )
        self._check_money(sight)
        self.last = sight
        return sight

    def _check_images(self, checkpoint: CheckpointReader, wants: dict[str, int]) -> Counter[str]:
        """Every image ever seen or told of is there, once, with its bytes; none is a surplus."""
        now: dict[tuple[str, int], tuple[Path, str]] = {}
        for image in checkpoint.images():
            key = (image.job_id, image.number)
            assert key not in now, f"{key} is accepted twice"
            now[key] = (image.path, image.sha256)
            assert file_sha256(image.path) == image.sha256, (
                f"{image.path} is not the file that was accepted"
            )
        lost = self._seen.items() - now.items()
        assert not lost, f"accepted images are lost or changed: {lost}"
        for told in self._told:
            key = (told.job, told.number)
            assert now.get(key) == (told.path, told.sha256), f"{told} was told of and is lost"
        paths = {path for path, _ in now.values()}
        assert len(paths) == len(now), "two images share a file"
        self._seen = now
        accepted = Counter(job for job, _ in now)
        surplus = {job: n for job, n in accepted.items() if n > wants[job]}
        assert not surplus, f"more images were accepted than wanted: {surplus}"
        return accepted

    def _check_jobs(self, ledgers: dict[str, _Ledger], candidates: Counter[str]) -> int:
        """Match the ledger of each job with its part of the bill; return how many are equal."""
        bills: dict[str, list[BillLine]] = defaultdict(list)
        for line in self._bill.lines:
            bills[job_of_prompt(line.prompt)].append(line)
        assert bills.keys() <= ledgers.keys(), "the bill names a job the ledger does not know"
        exact = 0
        for job, ledger in ledgers.items():
            assert not ledger.spoiled, ledger.spoiled
            calls, bill = ledger.calls.values(), bills[job]
            unknown = [call for call in calls if call.unknown_nano]
            assert len(calls) - len(unknown) <= len(bill) <= len(calls), (
                f"{job}: {len(bill)} requests, {len(calls)} calls, {len(unknown)} of them unknown"
            )
            known = Counter((c.model, c.confirmed_nano) for c in calls if c.confirmed_nano)
            billed = Counter((line.model, line.nano_usd) for line in bill if line.nano_usd)
            assert known <= billed, f"{job}: booked, but not on the bill: {known - billed}"
            rest = billed - known
            rest_nano = sum(nano * count for (_, nano), count in rest.items())
            assert rest.total() <= len(unknown), f"{job}: on the bill, but not booked: {rest}"
            assert rest_nano <= sum(call.unknown_nano for call in unknown), f"{job}: {rest}"
            images = sum(line.images for line in bill)
            assert candidates[job] <= images <= candidates[job] + MOST_IMAGES * len(unknown), (
                f"{job}: {images} images on the bill, {candidates[job]} in the checkpoint"
            )
            exact += not unknown
        return exact

    def _check_nothing_is_bought_for_the_done(
        self, accepted: Counter[str], wants: dict[str, int]
    ) -> None:
        """A job that has what it wants costs no request any more."""
        requests = Counter(job_of_prompt(line.prompt) for line in self._bill.lines)
        for job, (want, before) in self._done.items():
            if wants[job] == want:
                assert requests[job] == before, f"{job} had its {want} images and was drawn again"
        self._done = {
            job: (want, requests[job]) for job, want in wants.items() if accepted[job] >= want
        }

    def _check_money(self, now: Sight) -> None:
        """The bill lies between confirmed and worst case; it is confirmed if nothing was cut."""
        last = self.last
        assert now.confirmed_nano <= now.bill_nano <= now.confirmed_nano + now.unknown_nano, now
        assert now.confirmed_nano >= last.confirmed_nano
        if now.unknown_nano == last.unknown_nano:
            self.rounds_without_a_cut_call += 1
            assert now.bill_nano - last.bill_nano == now.confirmed_nano - last.confirmed_nano, now
        assert now.unknown_nano >= last.unknown_nano  # nobody settles by hand here


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ledgers(checkpoint: CheckpointReader) -> dict[str, _Ledger]:
    """Read the ledger, job by job, and note every call for a slot that was accepted before."""
    ledgers: defaultdict[str, _Ledger] = defaultdict(_Ledger)
    for line in checkpoint.ledger():
        ledger = ledgers[line.job_id]
        if line.kind == "accepted":
            assert line.slot is not None
            if line.slot in ledger.accepted_slots:
                ledger.spoiled.append(f"slot {line.slot} was accepted twice")
            ledger.accepted_slots.add(line.slot)
        elif line.kind == "call" and not line.note.startswith("not sent"):  # so never on a bill
            assert line.call is not None
            assert line.slot is not None
            if line.slot in ledger.accepted_slots:
                ledger.spoiled.append(f"slot {line.slot} was accepted and bought again")
            call = ledger.calls.setdefault(line.call, _Call(line.model_id, line.slot))
            call.confirmed_nano += _nano(line.usd)
            call.unknown_nano += _nano(line.unknown_usd)
    return dict(ledgers)


def _nano(usd: Decimal) -> int:
    nano = usd.scaleb(9)
    assert nano == int(nano)
    return int(nano)
