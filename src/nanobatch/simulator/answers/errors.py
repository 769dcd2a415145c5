"""Answers with an error status; none of them is billed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanobatch.simulator import problem
from nanobatch.simulator.answer import JSON_HEADERS, Answer
from nanobatch.simulator.problem import Problem, detail
from nanobatch.simulator.studio import Content, Studio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "capacity",
    "daily_quota",
    "deadline",
    "error",
    "forbidden",
    "internal",
    "invalid_key",
    "no_credit",
    "not_found",
    "overloaded",
    "overloaded_html",
    "quota_zero",
    "rate_limited",
    "redirect",
    "spend_limit",
    "withdrawn",
]

_METRIC = "generativelanguage.googleapis.com"
_QUOTA_TEXT = (
    "You exceeded your current quota, please check your plan and billing details. For more "
    "information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To "
    "monitor your current usage, head to: https://ai.dev/rate-limit. "
)
_HELP = detail(
    "Help",
    links=[
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
)


def error(
    status: int,
    message: str,
    grpc_status: str = "",
    details: Sequence[dict[str, Any]] = (),
) -> Answer:
    """Any error in Google's JSON; `grpc_status` follows from the HTTP status if left out."""
    return _of(status, lambda _: Problem(status, message, word=grpc_status, details=details))


def rate_limited(retry_after_seconds: float | None = None) -> Answer:
    """429 per minute, with `RetryInfo` if a wait is given."""
    return _quota(
        metric="generate_requests_per_model",
        quota_id="GenerateRequestsPerMinutePerProjectPerModel",
        limit="10",
        retry_after_seconds=retry_after_seconds,
    )


def daily_quota() -> Answer:
    """429 per day, which still tells the client to come back in 7 seconds."""
    return _quota(
        metric="generate_requests_per_model_per_day",
        quota_id="GenerateRequestsPerDayPerProjectPerModel",
        limit="250",
        retry_after_seconds=7,
    )


def quota_zero() -> Answer:
    """429 with `limit: 0`: this account has no quota for the model at all."""
    return _quota(
        metric="generate_content_free_tier_requests",
        quota_id="GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        limit="0",
        retry_after_seconds=12,
    )


def spend_limit() -> Answer:
    """429 because too much was spent within ten minutes; no wait is named."""
    return error(
        429,
        "You exceeded your spend-based rate limit. Your spending rate has exceeded the allowed "
        "limit for your account's billing history and tier.",
    )


def capacity() -> Answer:
    """429 because the provider itself is full; no details."""
    return error(429, "Resource has been exhausted (e.g. check quota).")


def no_credit() -> Answer:
    """402: the prepaid credit is used up."""
    return error(
        402,
        "Your prepayment credits are depleted. Please go to AI Studio at "
        "https://ai.studio/projects to manage your project and billing.",
    )


def invalid_key() -> Answer:
    """400 `API_KEY_INVALID`."""
    return _of(400, lambda _: problem.invalid_key())


def forbidden() -> Answer:
    """403: the key may not do this."""
    return error(403, "Your API key was reported as leaked. Please use another API key.")


def not_found() -> Answer:
    """404: no such model."""
    return _of(
        404,
        lambda studio: problem.model_not_found(studio.call.model, version=studio.call.api_version),
    )


def withdrawn() -> Answer:
    """404: the model has been retired."""
    return _of(404, lambda studio: problem.model_withdrawn(studio.call.model))


def overloaded() -> Answer:
    """503 in JSON."""
    return error(
        503,
        "This model is currently experiencing high demand. Spikes in demand are usually "
        "temporary. Please try again later.",
    )


def overloaded_html() -> Answer:
    """503 as a web page, as load balancers answer."""
    page = (
        b"<!DOCTYPE html><html lang=en><title>Error 503 (Service Unavailable)!!1</title>"
        b"<p><b>503.</b> That's an error.<p>The service is temporarily unavailable.</html>"
    )
    return Answer(
        status=503,
        compose=lambda _: Content(body=page),
        headers=(("content-type", "text/html; charset=UTF-8"),),
    )


def internal() -> Answer:
    """500."""
    return error(
        500,
        "An internal error has occurred. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting",
    )


def deadline() -> Answer:
    """504."""
    return _of(504, lambda _: problem.deadline_passed())


def redirect(to: str, status: int = 307) -> Answer:
    """A redirect; a client that follows it hands its key to somebody else."""
    return Answer(
        status=status, compose=lambda _: Content(), headers=(*JSON_HEADERS, ("location", to))
    )


def _of(status: int, make: Callable[[Studio], Problem]) -> Answer:
    return Answer(status=status, compose=lambda studio: Content(body=make(studio).body()))


def _quota(*, metric: str, quota_id: str, limit: str, retry_after_seconds: float | None) -> Answer:
    def make(studio: Studio) -> Problem:
        model = studio.call.model
        text = f"{_QUOTA_TEXT}\n* Quota exceeded for metric: {_METRIC}/{metric}, limit: {limit}, "
        text += f"model: {model}"
        violation = {
            "quotaMetric": f"{_METRIC}/{metric}",
            "quotaId": quota_id,
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": limit,
        }
        details = [_HELP, detail("QuotaFailure", violations=[violation])]
        if retry_after_seconds is not None:
            text += f"\nPlease retry in {retry_after_seconds:g}s."
            details.append(detail("RetryInfo", retryDelay=f"{retry_after_seconds:g}s"))
        return Problem(429, text, details=details)

    return _of(429, make)
