"""The oracle: what a checkpoint has to say, worked out from what really happened outside.

Its arithmetic is its own, in whole nano-dollars; it knows nothing of the library.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Entry = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a checkpoint says of itself."""

    confirmed: int
    unknown: int
    billed: int
    """Billed generation calls."""
    images: Mapping[str, str] = field(default_factory=dict[str, str])
    """Job of the accepted images by their hash, in the order of acceptance."""
    wants: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(kw_only=True)
class LedgerModel:
    """Money, images and wants of one checkpoint over its whole life."""

    charged: int = 0
    """What was really charged; nobody but this model knows."""
    confirmed: int = 0
    unknown: int = 0
    billed: int = 0
    billed_at_most: int = 0
    """Answers that a kill left in `staging/` count as billed once the checkpoint is opened."""
    calls: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """What call n was charged, and its worst case."""
    drawn: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """Job and call of every image that was ever sent, by its hash."""
    images: dict[str, str] = field(default_factory=dict[str, str])
    """Job of every accepted image, by its hash."""
    wants: dict[str, int] = field(default_factory=dict[str, int])
    most_wanted: Counter[str] = field(default_factory=Counter[str])
    cap: int | None = 0
    """The largest cap in force so far; `None` once there was a run without one."""

    def allow(self, cap: int | None) -> None:
        """Take note of a cap before the run it is for."""
        self.cap = None if self.cap is None or cap is None else max(self.cap, cap)

    def accepted(self) -> Counter[str]:
        return Counter(self.images.values())

    def live(self, entries: Iterable[Entry]) -> None:
        """Take note of a run that came to an end, however it did: nothing of it is in doubt."""
        for entry in entries:
            match entry["kind"]:
                case "call" | "judge":
                    self._charge(entry)
                    is_confirmed = entry["told"] == "used"
                    is_doubtful = entry["told"] in ("silent", "lost")
                    self.confirmed += entry["charged"] * is_confirmed
                    self.unknown += entry["worst"] * is_doubtful
                    self._bill(_is_billed(entry))
                case "accepted":
                    self._accept(entry["job"], entry["image"])
                case "started":
                    self._want(entry["job"], entry["want"])

    def survive(
        self, entries: Iterable[Entry], found: Found, *, asked: Mapping[str, int], at_once: int
    ) -> None:
        """Take over what a killed run left, if it can be the truth.

        Args:
            entries: What happened until the kill.
            found: What the checkpoint says now.
            asked: The wants the run was given.
            at_once: The most requests it had in flight: so many intents may never have been sent.
        """
        least = most = self.confirmed
        doubt = 0
        for entry in entries:
            if entry["kind"] in ("call", "judge"):
                self._charge(entry)
                most += entry["charged"] * (entry["told"] == "used")
                doubt += entry["worst"]
                self.billed_at_most += _is_billed(entry)
            elif entry["kind"] == "settled":
                least += entry["confirmed"]
            elif entry["kind"] == "accepted":
                assert found.images[entry["image"]] == entry["job"], "it was announced"
        dearest = max((worst for _, worst in self.calls), default=0)
        assert least <= found.confirmed <= most
        assert found.unknown <= self.unknown + doubt + at_once * max(dearest, 10**9)
        assert self.images.items() <= found.images.items()
        self.confirmed, self.unknown = found.confirmed, found.unknown
        for image in found.images.keys() - self.images.keys():
            self._accept(found.images[image], image)
        for job, want in found.wants.items():
            assert want in (self.wants.get(job), asked.get(job))
            self._want(job, want)

    def settle(self, call: int, *, unknown: int, is_answered: bool) -> int:
        """Take note of a look at the bill; return what it says."""
        charged, worst = self.calls[call]
        assert unknown == worst, "the whole call was in doubt"
        self.unknown -= worst
        self.confirmed += charged
        self._bill(charged > 0 and not is_answered)  # an answered call is billed already
        return charged

    def count(self, billed: int, *, is_recovered: bool) -> None:
        """Compare the billed calls that a checkpoint has; once it is recovered none come late."""
        assert self.billed <= billed <= self.billed_at_most
        self.billed = billed
        if is_recovered:
            self.billed_at_most = billed

    def _bill(self, is_billed: bool) -> None:
        self.billed += is_billed
        self.billed_at_most += is_billed

    def _charge(self, entry: Entry) -> None:
        assert entry["charged"] <= entry["worst"]
        self.charged += entry["charged"]
        if entry["kind"] == "call":
            assert entry["number"] == len(self.calls)
            self.calls.append((entry["charged"], entry["worst"]))
            self.drawn |= dict.fromkeys(entry["images"], (entry["job"], entry["number"]))

    def _accept(self, job: str, image: str) -> None:
        assert self.drawn[image][0] == job, "it was drawn for another job"
        assert image not in self.images, "it was accepted twice"
        self.images[image] = job

    def _want(self, job: str, want: int) -> None:
        self.wants[job] = want
        self.most_wanted[job] = max(self.most_wanted[job], want)


def _is_billed(entry: Entry) -> bool:
    """Say whether an entry is a generation call that is known to be billed."""
    is_answered = entry["told"] in ("used", "silent")
    return entry["kind"] == "call" and is_answered
