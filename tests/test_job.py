from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nanobatch.errors import JobFileError
from nanobatch.job import Job, Route, read_jobs

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def write(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def complaint_of(file: Path) -> tuple[str, int | None]:
    """Read a file to its end and return what is wrong with it, without the file's name."""
    with pytest.raises(JobFileError) as caught:
        list(read_jobs(file))
    assert caught.value.file == file
    return str(caught.value).removeprefix(str(file)), caught.value.line


# --- one job -------------------------------------------------------------------------------------


def test_a_job_needs_only_an_id_and_a_prompt() -> None:
    job = Job(id="a", prompt="a fox")

    assert job.model_dump() == {
        "id": "a",
        "prompt": "a fox",
        "want": 1,
        "tag": "",
        "aspect_ratio": "1:1",
        "size": "1K",
        "references": (),
        "route": None,
        "best_of": 1,
        "metadata": {},
    }


@given(ANY_TEXT)
def test_a_prompt_is_kept_byte_for_byte(prompt: str) -> None:
    job = Job(id="a", prompt=prompt)

    assert job.prompt.encode() == prompt.encode()


@given(ANY_TEXT.filter(lambda text: "\0" not in text))
def test_an_id_may_be_any_unicode(job_id: str) -> None:
    assert Job(id=job_id, prompt="a fox").id == job_id


def test_a_route_may_be_a_plain_string() -> None:
    route: Any = "finish"

    assert Job(id="a", prompt="a fox", route=route).route is Route.FINISH
    assert list(Route) == ["lite", "finish", "quality", "auto"]


@pytest.mark.parametrize(
    ("fields", "where", "complaint"),
    [
        ({"id": ""}, "id", "at least 1 character"),
        ({"id": "a\0b"}, "id", "must not contain a NUL character"),
        ({"id": "a\ud800"}, "id", "valid string"),
        ({"id": 5}, "id", "valid string"),
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"prompt": "\udcff"}, "prompt", "valid string"),
        ({"want": 0}, "want", "greater than or equal to 1"),
        ({"want": 2**63}, "want", "less than or equal to 1000000000"),
        ({"want": 1.5}, "want", "valid integer"),
        ({"want": True}, "want", "must be a whole number, not true or false"),
        ({"best_of": 0}, "best_of", "greater than or equal to 1"),
        ({"aspect_ratio": "16x9"}, "aspect_ratio", "must be width:height, such as 16:9"),
        ({"aspect_ratio": "0:9"}, "aspect_ratio", "must be width:height, such as 16:9"),
        ({"aspect_ratio": "1:1\n"}, "aspect_ratio", "must be width:height, such as 16:9"),
        ({"size": ""}, "size", "at least 1 character"),
        ({"route": "cheap"}, "route", "'lite', 'finish', 'quality' or 'auto'"),
        ({"references": "a.png"}, "references", "valid tuple"),
        ({"references": [""]}, "references", "must be the path of an image file"),
        ({"references": ["a\0"]}, "references", "must be the path of an image file"),
        ({"metadata": {"a": float("nan")}}, "metadata", "must be plain JSON"),
        ({"metadata": {"a": "\ud800"}}, "metadata", "must be plain JSON"),
        ({"metadata": {"a": Path()}}, "metadata", "valid JSON"),
        ({"colour": "red"}, "colour", "not permitted"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(
    fields: dict[str, Any], where: str, complaint: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Job.model_validate({"id": "a", "prompt": "a fox", **fields})

    error = caught.value.errors()[0]
    assert error["loc"][0] == where
    assert complaint in error["msg"]


def test_nobody_can_change_a_job() -> None:
    job = Job(id="a", prompt="a fox")

    with pytest.raises(ValidationError, match="frozen"):
        job.want = 2


def test_jobs_do_not_share_their_metadata() -> None:
    one, other = Job(id="a", prompt="a fox"), Job(id="b", prompt="a fox")

    one.metadata["seen"] = True

    assert other.metadata == {}


# --- what may not change -------------------------------------------------------------------------


def test_want_tag_route_and_metadata_may_change_under_an_id() -> None:
    before = Job(id="a", prompt="a fox")
    after = Job(
        id="a",
        prompt="a fox",
        want=9,
        tag="t",
        route=Route.LITE,
        best_of=2,
        metadata={"x": 1},
        references=(Path("moved.png"),),
    )

    assert before.spec_sha256(["00"]) == after.spec_sha256(["00"])


@pytest.mark.parametrize(
    ("changed", "digests"),
    [
        ({"prompt": "a fox "}, ["00", "11"]),
        ({"aspect_ratio": "16:9"}, ["00", "11"]),
        ({"size": "2K"}, ["00", "11"]),
        ({}, ["11", "00"]),
        ({}, ["00"]),
        ({}, ["0011"]),
    ],
)
def test_a_changed_prompt_shape_or_reference_is_another_spec(
    changed: dict[str, str], digests: list[str]
) -> None:
    job = Job(id="a", prompt="a fox")

    other = Job.model_validate({"id": "a", "prompt": "a fox", **changed})

    assert other.spec_sha256(digests) != job.spec_sha256(["00", "11"])


def test_the_spec_of_a_job_is_the_same_on_every_machine_and_release() -> None:
    job = Job(id="a", prompt="ein schöner Fuchs", aspect_ratio="16:9", size="2K")

    # printf '%s' '["ein sch\u00f6ner Fuchs","16:9","2K",["00","11"]]' | sha256sum
    assert job.spec_sha256(("00", "11")) == (
        "c40379c94f5808c81a5efdbcd2717f01b79c5fbe6883dd25a382a650e78987ff"
    )


# --- reading .jsonl ------------------------------------------------------------------------------


def test_jsonl_holds_one_job_a_line(tmp_path: Path) -> None:
    file = write(
        tmp_path / "jobs.jsonl",
        '\ufeff{"id": "a", "prompt": " a fox\\n", "want": 2, "route": "finish", "tag": "t"}\r\n'
        "\n"
        '  {"id": "ü", "prompt": "a\u2028b", "metadata": {"n": [1, null]}, '
        '"references": ["in/a.png", "/abs/b.png"]}  ',
    )

    first, second = read_jobs(file)

    assert first == Job(id="a", prompt=" a fox\n", want=2, route=Route.FINISH, tag="t")
    assert second == Job(
        id="ü",
        prompt="a\u2028b",
        metadata={"n": [1, None]},
        references=(tmp_path / "in" / "a.png", Path("/abs/b.png")),
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"id": "b"', "is not valid JSON: Expecting ',' delimiter (column 11)."),
        ('{"id": "b", "want": NaN}', "is not valid JSON: NaN is no JSON number."),
        ('{"id": "b", "id": "c"}', "is not valid JSON: the key 'id' comes twice."),
        (
            "[1]",
            'is no JSON object; write one a line, {"id": "a", "prompt": "a fox"}.',
        ),
        (
            '{"id": "b"}',
            "'prompt' is missing; every job needs an id and a prompt.",
        ),
        (
            '{"id": "b", "prompt": "x", "wnat": 2}',
            "'wnat' is no field of a job; did you mean 'want'?",
        ),
        (
            '{"id": "b", "prompt": "x", "season": 2}',
            "'season' is no field of a job; put it into metadata.",
        ),
        (
            '{"id": "b", "prompt": "x", "want": 0}',
            "'want' is wrong: Input should be greater than or equal to 1, not 0.",
        ),
        (
            '{"id": "b", "prompt": "x", "aspect_ratio": "wide"}',
            "'aspect_ratio' must be width:height, such as 16:9, not 'wide'.",
        ),
        (
            '{"id": "a", "prompt": "x"}',
            "the id 'a' was already used on line 1; every job needs its own.",
        ),
    ],
)
def test_a_wrong_line_is_answered_with_its_number(
    tmp_path: Path, line: str, complaint: str
) -> None:
    file = write(tmp_path / "jobs.jsonl", f'{{"id": "a", "prompt": "a fox"}}\n\n{line}\n')

    assert complaint_of(file) == (f", line 3: {complaint}", 3)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"id": ' + "1" * 5000 + "}"])
def test_json_that_python_will_not_read_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    file = write(tmp_path / "jobs.jsonl", line)

    complaint, number = complaint_of(file)

    assert complaint.startswith(", line 1: is not valid JSON: ")
    assert number == 1


def test_a_long_wrong_value_is_not_repeated_in_full(tmp_path: Path) -> None:
    file = write(tmp_path / "jobs.jsonl", json.dumps({"id": "a", "prompt": ["x" * 100_000]}))

    complaint, _ = complaint_of(file)

    assert len(complaint) < 200


def test_a_wrong_line_does_not_take_the_earlier_jobs_with_it(
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "jobs.jsonl", '{"id": "a", "prompt": "a fox"}\nnonsense\n')
    jobs = read_jobs(file)

    assert next(jobs).id == "a"
    with pytest.raises(JobFileError, match="line 2: is not valid JSON"):
        next(jobs)


@given(
    st.lists(
        st.tuples(ANY_TEXT.filter(lambda text: "\0" not in text), ANY_TEXT),
        min_size=1,
        unique_by=lambda pair: pair[0],
    )
)
def test_whatever_was_written_as_jsonl_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    jobs = [Job(id=job_id, prompt=prompt) for job_id, prompt in pairs]
    lines = "\n".join(job.model_dump_json() for job in jobs)
    file = write(tmp_path_factory.mktemp("jobs") / "jobs.jsonl", lines)

    assert list(read_jobs(file)) == jobs


# --- reading .csv --------------------------------------------------------------------------------


def test_csv_columns_are_fields_and_the_rest_is_metadata(tmp_path: Path) -> None:
    file = write(
        tmp_path / "Jobs.CSV",
        "\ufeffid, prompt,want,route,references,season,note\r\n"
        'a,"a ""red"" fox,\r\nrunning",2,lite,a.png; b.png;,winter,\r\n'
        ",,,,,,\r\n"
        "b, a cat ,,,,,1\r\n",
    )

    first, second = read_jobs(str(file))

    assert first == Job(
        id="a",
        prompt='a "red" fox,\r\nrunning',
        want=2,
        route=Route.LITE,
        references=(tmp_path / "a.png", tmp_path / "b.png"),
        metadata={"season": "winter"},
    )
    assert second == Job(id="b", prompt=" a cat ", metadata={"note": "1"})


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("id,prompt,id\n", 1, "the header has the column 'id' twice; drop one."),
        ("id,,prompt\n", 1, "column 2 of the header has no name."),
        (
            "id;prompt\na;b\n",
            1,
            "the header has no column 'id', only id;prompt; columns are separated by commas.",
        ),
        (
            "\nid,Prompt\n",
            2,
            "the header has no column 'prompt', only id, Prompt; columns are separated by commas.",
        ),
        (
            "id,prompt,metadata\n",
            1,
            "the header has a column 'metadata'; give each value a column of its own.",
        ),
        (
            'id,prompt\na,"two\nlines"\nb,fox, cat\n',
            4,
            "has 3 cells, but the header has 2 columns; quote cells that contain commas.",
        ),
        (
            "id,prompt,tag\na,fox\n",
            2,
            "has 2 cells, but the header has 3 columns; quote cells that contain commas.",
        ),
        ("id,prompt\na,\n", 2, "'prompt' is missing; every job needs an id and a prompt."),
        (
            "id,prompt,want\na,fox,many\n",
            2,
            (
                "'want' is wrong: Input should be a valid integer, unable to parse string as an "
                "integer, not 'many'."
            ),
        ),
        (
            'id,prompt\na,"two\nlines"\na,fox\n',
            4,
            "the id 'a' was already used on line 2; every job needs its own.",
        ),
        (
            'id,prompt\na,fox\nb,"no end\nc,cat\n',
            3,
            (
                "is not valid CSV: unexpected end of data; check its quotes, or use .jsonl "
                "for long prompts."
            ),
        ),
    ],
)
def test_a_wrong_csv_is_answered_with_its_line(
    tmp_path: Path, text: str, line: int, complaint: str
) -> None:
    file = write(tmp_path / "jobs.csv", text)

    assert complaint_of(file) == (f", line {line}: {complaint}", line)


def test_a_cell_too_long_for_csv_names_the_way_out(tmp_path: Path) -> None:
    file = write(tmp_path / "jobs.csv", "id,prompt\na," + "x" * 200_000 + "\n")

    complaint, line = complaint_of(file)

    assert "use .jsonl for long prompts" in complaint
    assert line == 2


# --- reading .txt --------------------------------------------------------------------------------


def test_txt_holds_one_prompt_a_line(tmp_path: Path) -> None:
    file = write(
        tmp_path / "wall papers.txt",
        "# the first series\r\n  a fox, \r\n\r\n   \na\u2028cat\x0b\n # not a remark",
    )

    jobs = [(job.id, job.prompt) for job in read_jobs(file)]

    assert jobs == [
        ("wall papers-2", "  a fox, "),
        ("wall papers-5", "a\u2028cat\x0b"),
        ("wall papers-6", " # not a remark"),
    ]


# --- reading any file ----------------------------------------------------------------------------


def test_what_is_no_file_of_jobs_is_refused_before_the_first_job_is_asked_for(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "folder.txt"
    folder.mkdir()

    def complaint(path: Path) -> str:
        with pytest.raises(JobFileError) as caught:
            read_jobs(path)
        assert caught.value.file == path
        assert caught.value.line is None
        return str(caught.value).removeprefix(str(path))

    assert complaint(tmp_path / "none.txt") == " does not exist; check the path."
    assert complaint(folder) == " is a folder; give the path of one file."
    assert (
        complaint(tmp_path / "jobs.xlsx")
        == " ends in '.xlsx'; jobs are read from .jsonl, .csv or .txt."
    )
    assert complaint(tmp_path / "a\0.txt") == " does not exist; check the path."


def test_a_file_that_may_not_be_read_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "jobs.txt", "a fox\n")

    # root may read everything, so the system's answer is given here
    def refuse(path: Path, mode: int) -> bool:
        return False

    monkeypatch.setattr(os, "access", refuse)

    with pytest.raises(JobFileError, match=r"may not be read; check its permissions\."):
        read_jobs(file)


def test_a_file_that_vanishes_before_it_is_read_is_a_jobs_file_error(tmp_path: Path) -> None:
    file = write(tmp_path / "jobs.txt", "a fox\n")
    jobs = read_jobs(file)

    file.unlink()

    with pytest.raises(JobFileError, match="cannot be read: No such file or directory"):
        next(jobs)


@pytest.mark.parametrize("name", ["jobs.jsonl", "jobs.csv", "jobs.txt"])
@pytest.mark.parametrize(
    ("second_line", "complaint"),
    [
        (b"caf\xe9,x", "is not UTF-8 from byte 4 on; save the file as UTF-8."),
        (b"a\0,x", "contains a NUL byte; save the file as UTF-8 text."),
    ],
)
def test_bytes_that_are_no_text_are_answered_with_their_line(
    tmp_path: Path, name: str, second_line: bytes, complaint: str
) -> None:
    first_line = b"id,prompt\n" if name.endswith("csv") else b"\n"
    file = write(tmp_path / name, first_line + second_line + b"\n")

    assert complaint_of(file) == (f", line 2: {complaint}", 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("jobs.jsonl", ""),
        ("jobs.jsonl", "\n \n"),
        ("jobs.csv", ""),
        ("jobs.csv", "id,prompt\n"),
        ("jobs.txt", "# nothing yet\n\n"),
        ("jobs.txt", b"\xef\xbb\xbf"),
    ],
)
def test_a_file_without_jobs_is_refused(tmp_path: Path, name: str, content: str | bytes) -> None:
    file = write(tmp_path / name, content)

    assert complaint_of(file) == (" holds no job; write at least one.", None)


def test_jobs_are_read_one_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "jobs.txt"
    with file.open("w", encoding="utf-8") as stream:
        stream.write("a fox\n" * 50_000)
        stream.write("\0\n")

    jobs = read_jobs(file)

    assert next(jobs).id == "jobs-1"  # the NUL far behind was not met yet
    with pytest.raises(JobFileError, match="line 50001: contains a NUL byte"):
        list(jobs)


def test_a_jobs_file_error_survives_a_process_boundary(tmp_path: Path) -> None:
    file = write(tmp_path / "jobs.jsonl", "nonsense")
    with pytest.raises(JobFileError) as caught:
        list(read_jobs(file))

    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes

    assert (str(copy), copy.file, copy.line) == (str(caught.value), file, 1)
