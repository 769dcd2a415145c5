"""With money for one and a half calls left and 512 who want it, kills and faults overspend nothing.

`NANOBATCH_CRASH_KILLS=200` makes it twenty rounds with each of five seeds.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch.simulator import Answer, answers
from nanobatch.simulator.usage import Usage
from tests.crash.harness import KILLED, KILLS, SEED, Order, all_quiet, show, zygote
from tests.crash.judge import Judge
from tests.support import LITE, PRO, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Call, Simulator
    from nanobatch.simulator.studio import Content, Studio

ROUNDS = max(4, KILLS // 10)
SEEDS = range(SEED, SEED + max(1, KILLS // 40))

# Every prompt has 40 bytes, and a byte is reserved as a token.
PROMPT_BYTES = 40
# Lite reserves its output cap, 4,096 tokens, at the image rate.
LITE_NANO = 4096 * 30_000 + PROMPT_BYTES * 250
# Pro reserves two images and 2,048 tokens of text.
PRO_NANO = 2 * 1120 * 120_000 + 2048 * 12_000 + PROMPT_BYTES * 2_000


def _jobs(routes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a few jobs that want 800 images, far more than the money of all rounds can buy."""
    jobs: list[dict[str, Any]] = []
    for number in range(8):
        prompt = f"a dune <j{number}>".ljust(PROMPT_BYTES, ".")
        route = routes[number % len(routes)]
        jobs.append({"id": f"j{number}", "prompt": prompt, "route": route, "want": 100})
    return jobs


def _answer_with_usage(share: float) -> Answer:
    """Return a good image that used this share of all the tokens that were reserved for it."""

    def compose(studio: Studio) -> Content:
        image, text = (4096, 0) if studio.call.model == LITE else (2 * 1120, 2048)
        prompt, image, text = (int(share * most) for most in (PROMPT_BYTES, image, text))
        wire = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": image + text,
            "totalTokenCount": prompt + image + text,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": image}],
        }
        usage = Usage(
            prompt_tokens=prompt, image_tokens=image, text_tokens=text, images=1, wire=wire
        )
        return studio.parts([studio.image_part(studio.file())], usage)

    return Answer(status=200, compose=compose)


class Alarm:
    """Rings when so many more requests have come."""

    def __init__(self) -> None:
        self.set_to(0)

    def set_to(self, requests: int) -> None:
        self._requests = requests
        self.rings = anyio.Event()

    def hear(self) -> None:
        self._requests -= 1
        if self._requests == 0:
            self.rings.set()


def _greedy_simulator(seed: int, alarm: Alarm) -> Simulator:
    """Return a provider that fails every second time and uses all it may every fourth."""

    def answer(call: Call) -> Answer:
        alarm.hear()
        chance = Random(f"{seed} {call.model} {call.prompt} {call.nth}")
        fault = chance.random()
        faults = (
            (0.20, answers.rate_limited(0.005)),
            (0.35, answers.internal()),
            (0.45, answers.overloaded()),
            (0.48, _answer_with_usage(chance.random())),
            (0.50, answers.reset(billed=True)),
        )
        share = 1.0 if chance.random() < 0.5 else chance.random()
        chosen = next((one for below, one in faults if fault < below), _answer_with_usage(share))
        if 0.45 <= fault < 0.48:
            chosen = answers.cut(0.5, chosen)
        return chosen.after(chance.uniform(0.02, 0.06))

    return simulator(seed=seed, answer=answer, drawings=1)


@pytest.mark.timeout(60 + 10 * KILLS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("routes", "worst_nano"),
    [(("lite",), LITE_NANO), (("lite", "quality"), PRO_NANO)],
    ids=["lite", "mixed"],
)
async def test_money_for_one_and_a_half_calls_is_never_overspent_whatever_is_killed(
    tmp_path: Path, routes: tuple[str, ...], worst_nano: int, seed: int
) -> None:
    random = Random(f"{seed} {routes}")
    jobs = _jobs(routes)
    wants = {job["id"]: job["want"] for job in jobs}
    folder = tmp_path / "run"
    cap_nano = spent_nano = kills = kills_in_flight = exhausted = 0
    alarm = Alarm()
    async with _greedy_simulator(seed, alarm) as server, zygote() as zygote_:
        judge = Judge(folder, server.bill)
        for number in range(ROUNDS):
            cap_nano = spent_nano + worst_nano * 3 // 2
            is_undisturbed = (
                number % 4 == 3
            )  # the others are killed by their first, second or third call
            alarm.set_to(0 if is_undisturbed else random.randint(1, 3))
            order = Order(
                base_url=server.base_url,
                folder=str(folder),
                jobs=jobs,
                usd=str(Decimal(cap_nano).scaleb(-9)),
                concurrency=512,
                patience=100,  # all slots of a job may be in flight at once
            )
            run = await zygote_.run(order, kill_when=alarm.rings)
            await all_quiet(server)
            unknown_before = judge.last.unknown_nano
            sight = judge.look(run.accepted, wants)

            spent_nano = sight.confirmed_nano + sight.unknown_nano
            assert sight.bill_nano <= spent_nano <= cap_nano
            if run.code == KILLED:
                kills += 1
                kills_in_flight += sight.unknown_nano > unknown_before
            else:
                exhausted += 1
                assert run.ended == "budget"
                # What is left does not cover the worst case of the call that was refused.
                assert 0 <= cap_nano - spent_nano < worst_nano

    bill = server.bill
    show(
        f"{kills} kills, {kills_in_flight} with money in flight, {exhausted} budgets exhausted, "
        f"{bill.requests} requests; bill {bill.usd}, last cap {cap_nano / 1e9:.6f} USD"
    )
    assert kills + exhausted == ROUNDS
    assert kills_in_flight >= 1
    assert exhausted >= ROUNDS // 4
    if ROUNDS >= 20:  # enough to have met everything
        assert len({line.status for line in bill.lines} - {200}) >= 2
        most = {LITE: LITE_NANO, PRO: PRO_NANO}
        assert any(line.nano_usd == most[line.model] for line in bill.lines)
