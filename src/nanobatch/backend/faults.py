"""The one table of faults: what each failure of a call is called, who must act, what it costs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch.backend.error_answer import ErrorAnswer
    from nanobatch.backend.protocol import Reply

__all__ = ["ANSWERS", "FAULTS", "Action", "Cost", "Fault", "fault_of_reply"]


class Action(StrEnum):
    """What the run does about a fault."""

    RETRY = "retry"
    """The call is tried again; an answer without a usable image is asked for once more."""
    SLOW_DOWN = "slow down"
    """As retry, and everybody sends less."""
    STOP_JOB = "stop job"
    """This job ends, the others go on."""
    STOP_TIER = "stop tier"
    """This model gets no further call; the other tier goes on if the route allows."""
    STOP_RUN = "stop run"
    """No new call starts: the account's owner must act."""


class Cost(StrEnum):
    """What a failed call costs."""

    FREE = "free"
    UNKNOWN = "unknown"
    """Nobody can know; it counts at its worst case until it is settled."""
    USAGE = "as its usage says"
    """The answer is complete; without usage in it, its cost is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the table."""

    kind: str
    """The stable word of errors and failures."""
    when: str
    """What came, for people."""
    action: Action
    cost: Cost = Cost.FREE
    statuses: tuple[int, int] = (0, 0)
    """First and last HTTP status of an error answer; none by default."""
    applies: Callable[[ErrorAnswer], bool] = lambda _: True
    """What else has to be true of an error answer."""
    advice: str = ""
    """What to do next; empty if nobody has to do anything."""
    wait_seconds: float | None = None
    """How long to wait at least if the provider names no time."""


# Source: https://ai.google.dev/gemini-api/docs/troubleshooting and the errors that users quote on
# https://discuss.ai.google.dev, collected 2026-11-23; no live check.
# The first row that fits an error answer decides. The HTTP status comes before `error.status`: an
# empty prepay account is 402 RESOURCE_EXHAUSTED. Only 200 is billed by published practice.
ANSWERS = (
    Fault(
        kind="invalid_key",
        when="400, API key not valid",
        action=Action.STOP_RUN,
        statuses=(400, 400),
        applies=lambda a: "API_KEY_INVALID" in a.reasons() or a.says("api key not valid"),
        advice="Check the API key.",
    ),
    Fault(
        kind="precondition",
        when="400, account not set up (billing, region)",
        action=Action.STOP_RUN,
        statuses=(400, 400),
        applies=lambda a: a.word == "FAILED_PRECONDITION",
        advice="The account must be set up first (billing, region).",
    ),
    Fault(
        kind="invalid_key",
        when="401",
        action=Action.STOP_RUN,
        statuses=(401, 401),
        advice="Check the API key.",
    ),
    Fault(
        kind="no_credit",
        when="402, prepaid credit used up",
        action=Action.STOP_RUN,
        statuses=(402, 402),
        advice="Top up the account, then run again: what is done stays done.",
    ),
    Fault(
        kind="not_found",
        when="403, no such file",
        action=Action.STOP_JOB,
        statuses=(403, 403),
        # Source: what the Files API says of any file that this key cannot see, also of one that
        # is deleted: "You do not have permission to access the File abc or it may not exist."
        # https://discuss.ai.google.dev, from memory, unverified, 2026-11-27.
        applies=lambda a: a.says("it may not exist"),
    ),
    Fault(
        kind="permission",
        when="403",
        action=Action.STOP_RUN,
        statuses=(403, 403),
        advice="Check the key's permissions and restrictions.",
    ),
    Fault(
        kind="model_gone",
        when="404, model unknown or retired",
        action=Action.STOP_TIER,
        statuses=(404, 404),
        advice="Switch the model in the registry's config.",
    ),
    Fault(kind="server_timeout", when="408", action=Action.SLOW_DOWN, statuses=(408, 408)),
    Fault(
        kind="no_credit",
        when="429, prepaid credit used up",
        action=Action.STOP_RUN,
        statuses=(429, 429),
        applies=lambda a: a.says("prepayment credits"),
        advice="Top up the account, then run again: what is done stays done.",
    ),
    Fault(
        kind="quota_zero",
        when="429, `limit: 0`",
        action=Action.STOP_RUN,
        statuses=(429, 429),
        applies=lambda a: re.search(r"limit: 0(?!\.?\d)", a.message) is not None,
        advice="This account has no quota for the model: a paid tier is needed.",
    ),
    Fault(
        kind="daily_quota",
        when="429, quota of the day used up",
        action=Action.STOP_RUN,
        statuses=(429, 429),
        # The quota id is trusted over RetryInfo: daily violations come with delays of seconds.
        applies=lambda a: any("PerDay" in quota_id for quota_id in a.quota_ids()),
        advice="Run again after midnight Pacific time, when the daily quota is reset.",
    ),
    Fault(
        kind="spend_limit",
        when="429, too much spent in ten minutes",
        action=Action.SLOW_DOWN,
        statuses=(429, 429),
        applies=lambda a: a.says("spend-based rate limit"),
        # Source: users recovered at one request in 20 s (reference page "Gemini image API: facts"
        # 3.1, unverified, 2026-11-23); the provider names no time.
        wait_seconds=20.0,
    ),
    Fault(
        kind="rate_limit", when="429, everything else", action=Action.SLOW_DOWN, statuses=(429, 429)
    ),
    Fault(kind="bad_request", when="every other 4xx", action=Action.STOP_JOB, statuses=(400, 499)),
    Fault(kind="overloaded", when="503", action=Action.SLOW_DOWN, statuses=(503, 503)),
    Fault(kind="server_error", when="every other 5xx", action=Action.RETRY, statuses=(500, 599)),
    Fault(kind="redirect", when="3xx, not followed", action=Action.RETRY, statuses=(300, 399)),
)
NOT_SENT = Fault(
    kind="bad_request", when="the SDK refuses the request before sending", action=Action.STOP_JOB
)
NO_CONNECTION = Fault(kind="connect", when="no connection (DNS, refused, TLS)", action=Action.RETRY)
NO_END = Fault(
    kind="timeout",
    when="no complete answer before the deadline",
    action=Action.RETRY,
    cost=Cost.UNKNOWN,
)
BROKEN_OFF = Fault(
    kind="connection_lost",
    when="the connection ends before the answer does",
    action=Action.RETRY,
    cost=Cost.UNKNOWN,
)
UNREADABLE = Fault(
    kind="unreadable",
    when="200 whose body is empty, no JSON or no answer",
    action=Action.RETRY,
    cost=Cost.UNKNOWN,
)
TOO_LARGE = Fault(
    kind="too_large",
    when="200 whose body passes 64 MiB",
    action=Action.RETRY,
    cost=Cost.UNKNOWN,
)
COMPRESSED = Fault(
    kind="protocol",
    when="200 that is compressed although nobody asked",
    action=Action.RETRY,
    cost=Cost.UNKNOWN,
)
NO_MEANING = Fault(
    kind="protocol",
    when="a status that is neither 200 nor an error",
    action=Action.RETRY,
    cost=Cost.UNKNOWN,
)
NOT_FOUND = Fault(
    kind="not_found",
    when="404, no such file or batch job (deleted, expired or another project's)",
    action=Action.STOP_JOB,
)
BAD_LINE = Fault(
    kind="unreadable",
    when="a line of a batch's results that is no JSON or no answer",
    action=Action.RETRY,
    cost=Cost.UNKNOWN,
)
REFUSED = Fault(
    kind="refused",
    when="200, prompt blocked or content prohibited",
    action=Action.STOP_JOB,
    cost=Cost.USAGE,
)
UNSAFE = Fault(
    kind="empty",
    when="200, `IMAGE_SAFETY`; two slots in a row stop the job",
    action=Action.RETRY,
    cost=Cost.USAGE,
)
EMPTY = Fault(
    kind="empty",
    when="200 without an image, for any other reason",
    action=Action.RETRY,
    cost=Cost.USAGE,
)
BROKEN = Fault(
    kind="broken",
    when="200 whose image is no complete PNG, JPEG or WebP",
    action=Action.RETRY,
    cost=Cost.USAGE,
)

FAULTS = (
    *ANSWERS, NOT_SENT, NO_CONNECTION, NO_END, BROKEN_OFF, UNREADABLE, TOO_LARGE, COMPRESSED,
    NO_MEANING, NOT_FOUND, BAD_LINE, REFUSED, UNSAFE, EMPTY, BROKEN,
)  # fmt: skip
"""Every way in which a call can fail, in the order of the documentation."""

# Source: reference page "Gemini image API: facts" 2.1, collected 2026-11-23, unverified.
_PROHIBITED = frozenset(
    {"SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST", "SPII"}
)


def fault_of_reply(reply: Reply) -> Fault | None:
    """Return what a complete answer lacks; `None` if it holds an image, sound or not."""
    if reply.images:
        return None
    if reply.block_reason or reply.finish_reason in _PROHIBITED:
        return REFUSED
    return UNSAFE if reply.finish_reason == "IMAGE_SAFETY" else EMPTY
