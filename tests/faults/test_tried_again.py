"""What is tried again: one request more, the image in the end, and every cent accounted for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from nanobatch import Ended, Job, JobStatus, Route
from nanobatch.simulator import answers
from tests.faults.story import Case, Told, pipeline_at, told_by, usd_of, worst_case_usd
from tests.support import simulator

if TYPE_CHECKING:
    from pathlib import Path

UNREADABLE = "The provider answered 200 without a readable answer; what it cost is unknown."
BROKE_OFF = "The answer broke off (Re"  # RemoteProtocolError or ReadError
CLOUD_DOWN = b"<html><title>502 Bad Gateway</title></html>"
WEB_PAGE = b"<html><body>Welcome to the network. Please log in.</body></html>"
DEEP = '{"candidates": ' + "[" * 200_000
LONG = '{"usageMetadata": ' + "9" * 5000 + "x}"
NOT_QUITE = '{"candidates": [], "usageMetadata": {"promptTokenCount": -}}'

CASES = [
    Case(
        fault="N4",
        name="408",
        first=(answers.error(408, "The client was too slow."),),
        kinds=("server_timeout",),
        says="The provider answered 408: The client was too slow.",
    ),
    Case(
        fault="N6",
        name="429 with two waits",
        first=(answers.rate_limited(0.02).with_headers(("retry-after", "0.01")),),
        kinds=("rate_limit",),
        says="The provider answered 429: You exceeded your current quota",
    ),
    Case(
        fault="N8",
        name="429 without a wait",
        first=(answers.capacity(),),
        kinds=("rate_limit",),
        says="The provider answered 429: Resource has been exhausted (e.g. check quota).",
    ),
    Case(
        fault="N8",
        name="503 without a wait",
        first=(answers.overloaded(),),
        kinds=("overloaded",),
        says="The provider answered 503: This model is currently experiencing high demand.",
    ),
    Case(
        fault="N9",
        name="500",
        first=(answers.internal(),),
        kinds=("server_error",),
        says="The provider answered 500: An internal error has occurred.",
    ),
    Case(
        fault="N9",
        name="502",
        first=(answers.error(502, "Bad upstream."),),
        kinds=("server_error",),
        says="The provider answered 502: Bad upstream.",
    ),
    Case(
        fault="N10",
        name="502 as a web page",
        first=(answers.altered(lambda _: CLOUD_DOWN, of=answers.error(502, "")),),
        kinds=("server_error",),
        says="The provider answered 502: an HTML page",
    ),
    Case(
        fault="N10",
        name="503 as a web page",
        first=(answers.overloaded_html(),),
        kinds=("overloaded",),
        says="The provider answered 503: an HTML page",
    ),
    Case(
        fault="N10",
        name="504",
        first=(answers.deadline(),),
        kinds=("server_error",),
        says="The provider answered 504: Deadline expired before operation could complete.",
    ),
    *(
        Case(
            fault="N11",
            name=str(status),
            first=(answers.redirect("https://elsewhere.example/?key=secret", status),),
            kinds=("redirect",),
            says=f"answered {status}: a redirect to elsewhere.example, which is not followed.",
        )
        for status in (301, 302, 303, 304, 307, 308)
    ),
    Case(
        fault="N12",
        name="a web page",
        first=(answers.not_json(),),
        kinds=("unreadable",),
        says=UNREADABLE,
        unknown=True,
        kept=WEB_PAGE,
    ),
    Case(
        fault="N14",
        name="a reset before the answer",
        first=(answers.reset(billed=True),),
        kinds=("connection_lost",),
        says=BROKE_OFF,
        unknown=True,
    ),
    Case(
        fault="N14",
        name="a close before the answer",
        first=(answers.close(),),
        kinds=("connection_lost",),
        says=BROKE_OFF,
        unknown=True,
    ),
    Case(
        fault="N15",
        name="a reset in the body",
        first=(answers.reset_in_body(),),
        kinds=("connection_lost",),
        says=BROKE_OFF,
        unknown=True,
    ),
    Case(
        fault="N15",
        name="a body shorter than announced",
        first=(answers.cut(0.9),),
        kinds=("connection_lost",),
        says=BROKE_OFF,
        unknown=True,
    ),
    Case(
        fault="N17",
        name="a hundred thousand headers",
        first=(answers.image().with_headers(*[("x-a", "b")] * 100_000),),
        kinds=("connection_lost",),
        says=BROKE_OFF,
        unknown=True,
    ),
    Case(
        fault="N17",
        name="a header of a megabyte",
        first=(answers.image().with_headers(("x-a", "b" * 1_000_000)),),
        kinds=("connection_lost",),
        says=BROKE_OFF,
        unknown=True,
    ),
    Case(
        fault="N18",
        name="an endless body",
        first=(answers.endless_body(),),
        kinds=("too_large",),
        says="The answer is larger than 64 MiB; its cost is unknown.",
        unknown=True,
    ),
    Case(
        fault="N18",
        name="an endless error",
        first=(answers.endless_body(answers.overloaded()),),
        kinds=("overloaded",),
        says="The provider answered 503: ",
    ),
    Case(
        fault="N19",
        name="a compressed body",
        first=(answers.gzipped(),),
        kinds=("protocol",),
        says="The answer is compressed although identity was asked for; its cost is unknown.",
        unknown=True,
    ),
    Case(
        fault="N19",
        name="an encoding nobody knows",
        first=(answers.image().with_headers(("content-encoding", "zip-bomb")),),
        kinds=("protocol",),
        says="The answer is compressed",
        unknown=True,
    ),
    *(
        Case(
            fault="N20",
            name=name,
            first=(answers.altered(lambda _, body=body: body),),  # type: ignore[misc]  # a default binds it now
            kinds=("unreadable",),
            says=UNREADABLE,
            unknown=True,
            kept=body,
        )
        for name, body in {
            "half an answer": b'{"candidates": [{"content": {"par',
            "junk after the answer": b'{"candidates": []} <!-- cached -->',
            "a byte order mark": b"\xef\xbb\xbf" + b'{"candidates": []}',
            "UTF-16": '{"candidates": []}'.encode("utf-16"),
            "Latin-1": '{"candidates": [], "responseId": "é"}'.encode("latin-1"),
        }.items()
    ),
    *(
        Case(
            fault="N21",
            name=name,
            first=(answers.json_value(text),),
            kinds=("unreadable",),
            says=UNREADABLE,
            unknown=True,
            kept=text.encode(),
        )
        for name, text in {
            "200,000 levels": DEEP,
            "5,000 digits": LONG,
            "no number": NOT_QUITE,
        }.items()
    ),
    *(
        Case(
            fault="N22",
            name=f"JSON {text}",
            first=(answers.json_value(text),),
            kinds=("unreadable",),
            says=UNREADABLE,
            unknown=True,
            kept=text.encode(),
        )
        for text in ("null", "[]", "{}", "0", '""')
    ),
    Case(
        fault="N22",
        name="an empty body",
        first=(answers.empty_body(),),
        kinds=("unreadable",),
        says=UNREADABLE,
        unknown=True,
    ),
    Case(
        fault="N22",
        name="204",
        first=(answers.no_content(),),
        kinds=("protocol",),
        says="The provider answered 204, which is no answer to a generation call",
        unknown=True,
    ),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """One run over all cases: a fault of one job is no business of another."""
    return told_by(CASES, tmp_path_factory.mktemp("tried") / "run")


@pytest.mark.parametrize("case", [case.param for case in CASES])
def test_a_transient_fault_costs_one_more_request_and_is_shown(
    told: dict[str, Told], case: Case
) -> None:
    job = told[case.name]

    assert (job.ended, job.status) == (Ended.COMPLETE, JobStatus.DONE)
    assert len(job.images) == 1
    assert len(job.bill) == 2
    assert job.kinds == case.kinds
    assert case.says in job.messages[0]
    assert (job.slots, job.calls) == (1, 1)
    assert job.confirmed_usd == usd_of(job.bill[1:])
    assert job.unknown_usd == (worst_case_usd(case.name) if case.unknown else 0)
    assert usd_of(job.bill) <= job.confirmed_usd + job.unknown_usd
    assert job.quarantine == (() if case.kept is None else (case.kept,))


def test_the_table_holds_jobs_of_different_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.fault("N16", "N17", "C1")
async def test_an_answer_that_does_not_end_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    endless = {
        "before the headers": answers.stall(billed=True),
        "after the headers": answers.stall_in_body(0.0),
        "in the body": answers.stall_in_body(0.5),
        "byte by byte": answers.drip(0.05),
        "slowly": answers.slow(600),
        "interim answers": answers.interim_flood(),
    }
    jobs = [Job(id=name, prompt=name, route=Route.LITE) for name in endless]
    async with simulator(
        answer=lambda call: endless[call.prompt] if call.nth == 0 else None
    ) as server:
        result = await pipeline_at(server.base_url, tmp_path, timeout_seconds=1.5).run(jobs)

    assert result.ended is Ended.COMPLETE
    assert result.delivered == len(endless)
    assert {(f.job_id, f.kind, f.message) for f in result.failures} == {
        (
            name,
            "timeout",
            "No complete answer within 1.5 s. Whether it is billed is unknown.",
        )
        for name in endless
    }
    assert server.bill.requests == 2 * len(endless)
    assert result.spend.unknown_usd == sum(worst_case_usd(name) for name in endless)
    assert result.spend.confirmed_usd <= server.bill.usd <= result.spend.worst_case_usd


@pytest.mark.fault("N13")
async def test_without_a_connection_nothing_is_sent_and_nothing_is_owed(tmp_path: Path) -> None:
    async with simulator() as server:
        nobody = server.base_url
        tls_to_plain_http = server.base_url.replace("http:", "https:")
        no_tls = await pipeline_at(tls_to_plain_http, tmp_path / "tls").run(
            [Job(id="a", prompt="x")]
        )
    refused = await pipeline_at(nobody, tmp_path / "refused").run([Job(id="a", prompt="x")])

    for result in (no_tls, refused):
        assert result.jobs["a"].status is JobStatus.FAILED
        assert result.jobs["a"].slots == 0
        assert [f.kind for f in result.failures] == ["connect"] * 9  # 3 void slots of 3 tries
        assert result.spend.worst_case_usd == 0
    assert server.bill.requests == 0


@pytest.mark.fault("N13")
async def test_a_name_that_is_not_resolved_for_a_while_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    resolve, asked = socket.getaddrinfo, 0

    def fails_twice(host: str | bytes, *rest: object, **options: object) -> object:
        nonlocal asked
        if host in {"localhost", b"localhost"}:
            asked += 1
            if asked <= 2:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            host = "127.0.0.1"
        return resolve(host, *rest, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(socket, "getaddrinfo", fails_twice)
    async with simulator() as server:
        by_name = server.base_url.replace("127.0.0.1", "localhost")
        result = await pipeline_at(by_name, tmp_path).run(
            [Job(id="a", prompt="x", route=Route.LITE)]
        )

    assert asked == 3
    assert result.jobs["a"].status is JobStatus.DONE
    assert [f.kind for f in result.failures] == ["connect", "connect"]
    assert server.bill.requests == 1
    assert result.spend.unknown_usd == 0
