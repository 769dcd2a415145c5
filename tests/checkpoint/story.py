"""Writes a checkpoint one step at a time, as the pipeline does, but with every figure known."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from nanobatch.checkpoint import CandidateState, JobEntry, SlotState, take
from nanobatch.checkpoint.changes import (
    NewFailure,
    NewSlot,
    Settlement,
    accept,
    begin,
    judge,
    set_slot,
    settle,
)
from nanobatch.checkpoint.recover import described
from nanobatch.cost import LineKind, Outcome, Stage
from nanobatch.job import Job
from nanobatch.models import Tier, TokenUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from nanobatch.checkpoint import Store, TakenJob
    from nanobatch.checkpoint.changes import NewCandidate

PRICE = 33_600_000
"""Nano-dollars of every billed call of a story: 0.0336 USD."""

WORST = 120_000_000
"""Nano-dollars that every call of a story reserves: 0.12 USD."""

USAGE = TokenUsage(prompt_tokens=10, image_tokens=1120, text_tokens=3)


def png(shade: int = 0) -> bytes:
    """Return a small picture; another shade is another file."""
    file = io.BytesIO()
    Image.new("RGB", (12, 8), (shade % 256, shade // 256, 7)).save(file, "PNG")
    return file.getvalue()


def job(job_id: str = "fox", **fields: Any) -> Job:
    return Job.model_validate({"id": job_id, "prompt": "a fox", **fields})


def entry(one: Job, *, key: str = "lite", references: Sequence[str] = ()) -> JobEntry:
    return JobEntry(job=one, spec_sha256=one.spec_sha256(references), allowance_key=key)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A call that returned one image."""

    slot: int
    call: int
    row: NewCandidate

    @property
    def staged(self) -> str:
        """Path of its file inside the checkpoint's folder."""
        return f"staging/{self.row.file}"


@dataclass(frozen=True)
class Story:
    """Steps of a run on an open checkpoint; each is durable when it returns."""

    store: Store

    def write(self, change: Callable[[sqlite3.Connection], Any]) -> Any:
        return self.store.writer.commit_now(change)

    def take(self, one: Job, *, run: int, key: str = "lite") -> TakenJob:
        taken: TakenJob = self.write(lambda db: take(db, [entry(one, key=key)], run=run))[0]
        return taken

    def begin(
        self,
        taken: TakenJob,
        *,
        slot: int | None = None,
        stage: Stage = Stage.CANDIDATE,
        parent: int | None = None,
        kind: LineKind = LineKind.CALL,
    ) -> tuple[int, int]:
        """Write an intent, in a new slot unless one is given; return slot and call."""
        call = self.store.new_call()
        new: NewSlot | None = None
        if slot is None:
            slot = self.store.new_slot()
            new = NewSlot(
                number=slot,
                job=taken.number,
                attempt=taken.attempt,
                allowance=taken.allowance,
                stage=stage,
                tier=Tier.QUALITY if stage is Stage.FINISH else Tier.LITE,
                model_id="painter",
                parent=parent,
            )
        number = slot
        self.write(
            lambda db: begin(db, call=call, slot=number, worst_nano=WORST, kind=kind, new=new)
        )
        return number, call

    def begin_judging(self, slot: int) -> tuple[int, int]:
        """Write the intent of a paid judgement; return slot and call."""
        call = self.store.new_call()
        self.write(
            lambda db: begin(
                db, call=call, slot=slot, worst_nano=WORST, kind=LineKind.JUDGE, new=None
            )
        )
        return slot, call

    def settle(
        self,
        taken: TakenJob,
        slot: int,
        call: int,
        *,
        outcome: Outcome = Outcome.BILLED,
        usd_nano: int = PRICE,
        unknown_nano: int = 0,
        rows: Sequence[NewCandidate] = (),
        failure: NewFailure | None = None,
    ) -> None:
        settlement = Settlement(
            call=call,
            slot=slot,
            job=taken.number,
            outcome=outcome,
            usd_nano=usd_nano,
            unknown_nano=unknown_nano,
            usage=USAGE if usd_nano else None,
        )
        self.write(lambda db: settle(db, settlement, rows, failure))

    def stage(self, call: int, *images: bytes) -> list[NewCandidate]:
        """Put the images of an answer on the disk; no row speaks of them yet."""
        rows = [
            described(image, number=self.store.new_candidate(), file=f"{call}-{i:02d}.png")
            for i, image in enumerate(images)
        ]
        self.store.files.stage({row.file: image for row, image in zip(rows, images, strict=True)})
        return rows

    def draw(
        self,
        taken: TakenJob,
        image: bytes | None = None,
        *,
        stage: Stage = Stage.CANDIDATE,
        parent: int | None = None,
        slot: int | None = None,
    ) -> Drawn:
        """Call for an image and settle the call at its price."""
        slot, call = self.begin(taken, slot=slot, stage=stage, parent=parent)
        rows = self.stage(call, png(call) if image is None else image)
        self.settle(taken, slot, call, rows=rows)
        return Drawn(slot=slot, call=call, row=rows[0])

    def reject(
        self,
        drawn: Drawn,
        reason: str,
        *,
        state: SlotState = SlotState.REJECTED,
        file: str | None = None,
    ) -> None:
        def change(db: sqlite3.Connection) -> None:
            judge(
                db,
                candidate=drawn.row.number,
                state=CandidateState.REJECTED,
                filter_name="eye",
                reason=reason,
                file=file,
            )
            set_slot(db, drawn.slot, state)

        self.write(change)
        self.store.files.discard(drawn.staged)

    def keep(self, drawn: Drawn, *, score: float | None = None) -> None:
        """Write that a candidate passed and waits in hand."""

        def change(db: sqlite3.Connection) -> None:
            self._passed(db, drawn, score)
            set_slot(db, drawn.slot, SlotState.PASSED)

        self.write(change)

    def accept(
        self, taken: TakenJob, drawn: Drawn, *, nth: int | None = None, score: float | None = None
    ) -> Path:
        """Accept a candidate that has just passed; return its path."""
        number = taken.next_number if nth is None else nth
        taken.next_number = number + 1
        name = self.store.files.accept(
            drawn.staged, f"{taken.stem}-{number}", sha256=drawn.row.sha256
        )

        def change(db: sqlite3.Connection) -> None:
            self._passed(db, drawn, score)
            accept(db, job=taken.number, nth=number, candidate=drawn.row.number, file=name)

        self.write(change)
        self.store.files.discard(drawn.staged)
        return self.store.files.images / name

    @staticmethod
    def _passed(db: sqlite3.Connection, drawn: Drawn, score: float | None) -> None:
        judge(
            db,
            candidate=drawn.row.number,
            state=CandidateState.PASSED,
            score=score,
            memos='{"twins": "0aff"}',
            file=drawn.row.file,
        )


def abandon(root: Path) -> None:
    """Mark a closed checkpoint as one whose process was killed, so that opening it recovers."""
    with closing(sqlite3.connect(root / "ledger.sqlite")) as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'is_clean'")
        db.commit()
