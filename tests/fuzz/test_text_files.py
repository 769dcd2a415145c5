"""Whatever somebody wrote into a config or a file of jobs: used, or one sentence that helps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanobatch import (
    ConfigError,
    ImageRequest,
    Job,
    JobFileError,
    ModelRegistry,
    ModelRetiredError,
    PriceUnknownError,
    RegistryError,
    read_jobs,
)
from tests.fuzz.mutator import INPUTS, Campaign, Mutator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANY_TEXT = settings(
    max_examples=max(100, INPUTS // 10),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the file is written anew
)
SHEET = b"""\
[roles]
lite = "gemini-3.1-flash-lite-image"
hero = "mine"

[models."gemini-3.1-flash-lite-image"]
retires = 2027-06-30
aliases = ["cheap", "quick one"]
[[models."gemini-3.1-flash-lite-image".prices]]
effective_from = 2026-12-01
input = "0.25"
text_output = 1.5
image_output = 30
batch_factor = "0.5"

[models.mine]
name = "Mine"
sizes = ["1K", "4K"]
aspect_ratios = ["1:1", "16:9"]
image_tokens = { "1K" = 1120, "4K" = 2000 }
released = "2026-01-01"
replacement = "mine-2"
timeout_seconds = 12.5
max_reserved_output_tokens = 4096
thinking_levels = ["minimal", "high"]
default_thinking_level = "minimal"
prices = [{ effective_from = 2026-01-01, input = 1, text_output = 2, image_output = 3 }]

[rates.lite]
accept = 0.70
regenerate = 0.08
slots = 50
measured_on = 2026-11-23
"""
SHEETS = Mutator(
    corpus=[SHEET, SHEET.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + SHEET, b"", b"[roles]\n"],
    tokens=[
        b"inf", b"-nan", b"1e400", b"-1", b"0", b'""', b"true", b"[]", b"{}", b"[[models]]",
        b"2026-02-30", b"2026-11-24T09:00:00Z", b"0x10", b"9" * 60, b"1e-15", b"[" * 2000, b"'''",
        b'"""', b"\x00", b"\xff", b"\xed\xa0\x80", b"\\u001b[31m", b"#", b"a." * 500,
        b'[models."x"]\n', b"=",
        b"\r", b'retires = ""\n', b"prices = []\n", b"lite", b"quality", b"\\uD800", b"'\\\\'",
        b"0:0",
    ],
)  # fmt: skip

JSONL = b"""\
{"id": "a", "prompt": "a fox", "want": 2, "tag": "x", "aspect_ratio": "16:9", "size": "2K"}
{"id": "b", "prompt": "an owl \\ud83e\\udd89", "references": ["owl.png"], "route": "finish"}

{"id": "c", "prompt": "\xc3\xa9", "best_of": 3, "metadata": {"n": [1, null, {"k": 1.5}]}}
"""
CSV = b"""\
id,prompt,want,references,mood,route
a,"a fox, ""quick""
and brown",2,a.png;b.png,calm,lite
b,an owl,,,,
"""
TXT = b"# prompts\na fox\n\nan owl \xf0\x9f\xa6\x89\r\n  spaces  \n"
JOB_FILES = {
    suffix: Mutator(
        corpus=[body, body.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + body, b""],
        tokens=[
            b"\n", b"\r", b",", b'"', b";", b"\x00", b"\xff", b"\xc2\x85", b"\xe2\x80\xa8", b"#",
            b'{"id":', b"null", b"NaN", b"1e999", b"-1", b"0", b"[" * 3000, b"9" * 5000, b"\\ud800",
            b'"metadata": {', b'"prompt": ""', b'"want": true', b"\x1b[31m", b"{}", b"id",
            b"prompt",
            b'"references": ["\\u0000"]', b'"aspect_ratio": "0:1"', b"x" * 140_000, b"\xef\xbb\xbf",
        ],
        max_bytes=300_000,
    )
    for suffix, body in ((".jsonl", JSONL), (".csv", CSV), (".txt", TXT))
}  # fmt: skip


def _check_sentence(error: Exception, file: Path) -> None:
    """One printable line that names the file."""
    assert str(error).startswith(str(file))
    assert str(error).isprintable()
    assert len(str(error)) < 2000


def _refusal(work: Callable[[], object], *kinds: type[ConfigError]) -> ConfigError | None:
    """Return the documented error that something ends with, if it does."""
    try:
        work()
    except kinds as error:
        return error
    return None


def _load(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    try:
        registry = ModelRegistry.load(file)
    except RegistryError as error:
        refusal = error
    else:
        _use(registry)
        return "loaded"
    _check_sentence(refusal, file)
    assert refusal.file == file
    return "refused"


def _use(registry: ModelRegistry) -> None:
    """Whatever was loaded can be asked everything; what it cannot say, it says so."""
    repr(registry)
    registry.retiring()
    for name in registry.roles:
        _refusal(partial(registry.usable, name), ModelRetiredError)
    for model in registry.models.values():
        for size in (*model.sizes, "1K"):
            request = ImageRequest(model=model.id, prompt="a fox", size=size)
            for price in (
                partial(model.usd_per_image, size),
                partial(model.worst_case_usd, request),
            ):
                if not _refusal(price, PriceUnknownError):
                    assert 0 <= price() < 10**9
            nearest = partial(model.nearest, size, "16:9")
            assert _refusal(nearest, ConfigError) or nearest()[0] in model.sizes


def _jobs(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    jobs: list[Job] = []
    refusal = _refusal(lambda: jobs.extend(read_jobs(file)), JobFileError)
    for job in jobs:
        assert Job.model_validate_json(job.model_dump_json()) == job
    assert len({job.id for job in jobs}) == len(jobs)
    if refusal is None:
        return "read"
    assert isinstance(refusal, JobFileError)
    _check_sentence(refusal, file)
    assert refusal.file == file
    assert refusal.line is None or str(refusal).startswith(f"{file}, line {refusal.line}: ")
    return "refused"


@pytest.mark.timeout(0)  # the long version takes a while
def test_any_config_is_loaded_or_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "nanobatch.toml"

    campaign = Campaign().run(SHEETS.make, lambda content: _load(file, content), usually=400)

    assert campaign.outcomes.keys() == {"loaded", "refused"}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("suffix", JOB_FILES)
def test_any_file_of_jobs_is_read_or_refused_in_one_sentence(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"jobs{suffix}"

    campaign = Campaign().run(
        JOB_FILES[suffix].make, lambda content: _jobs(file, content), usually=400
    )

    assert campaign.outcomes.keys() == {"read", "refused"}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("check", [_load, _jobs])
@ANY_TEXT
@given(text=st.text(st.characters()), suffix=st.sampled_from(list(JOB_FILES)))
def test_any_text_at_all_is_read_or_refused_in_one_sentence(
    check: Callable[[Path, bytes], str],
    text: str,
    suffix: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / ("any.toml" if check is _load else f"any{suffix}")

    assert check(file, text.encode("utf-8", "surrogatepass"))
