"""What the caller wants: one job, and the files people keep jobs in."""

import csv
import hashlib
import json
import os
import re
import reprlib
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from nanobatch.errors import JobFileError, one_line

__all__ = ["Job", "Route", "read_jobs"]

_ASPECT_RATIO = re.compile(r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}")


class Route(StrEnum):
    """Which tiers a job's images come from."""

    LITE = "lite"
    """The Lite image is accepted as it is."""

    FINISH = "finish"
    """Lite candidates; each pick is finished on the quality tier and judged again."""

    QUALITY = "quality"
    """Straight to the quality tier: hero images."""

    AUTO = "auto"
    """Lite or quality, slot by slot, by what was measured; it never finishes."""


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text, without half characters (surrogates)") from None
    return text


def _identifier(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _aspect_ratio(text: str) -> str:
    if _ASPECT_RATIO.fullmatch(text) is None:
        raise ValueError(f"must be width:height, such as 16:9, not {text!r}")
    return text


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")  # noqa: TRY004 - for pydantic
    return value


def _reference(path: Path) -> Path:
    if path == Path() or "\0" in str(path):
        raise ValueError("must be the path of an image file")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError("must be the path of an image file whose name is UTF-8") from None
    return path


def _json_object(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # NaN, lone surrogates, bottomless nesting
        raise ValueError(f"must be plain JSON: {error}") from None
    return metadata


_Text = Annotated[str, Field(min_length=1)]
_Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=1_000_000_000)]


class Job(BaseModel):
    """A prompt and how many accepted images of it are wanted.

    ```python
    Job(id="aurora-1", prompt="an aurora over a fjord, no text", want=2, aspect_ratio="16:9")
    ```

    Raises:
        ValueError: A field is missing, unknown or out of range (a pydantic `ValidationError`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[_Text, AfterValidator(_identifier)]
    """Unique in a run; any Unicode but NUL. It is escaped wherever it names a file."""

    prompt: _Text
    """Sent byte-exact, spaces and line ends included."""

    want: _Count = 1
    """Accepted images wanted, 1 to a thousand million."""

    tag: Annotated[str, AfterValidator(_unicode)] = ""
    """Group for routing and reports."""

    aspect_ratio: Annotated[str, AfterValidator(_aspect_ratio)] = "1:1"
    """Width to height of the accepted image."""

    size: _Text = "1K"
    """Size of the accepted image; which ones there are is the model's affair."""

    references: tuple[Annotated[Path, AfterValidator(_reference)], ...] = ()
    """Image files that are sent along."""

    route: Route | None = None
    """Which tiers may draw it; `None` leaves it to the pipeline."""

    best_of: _Count = 1
    """Passing candidates that compete for each wanted image, >= 1."""

    metadata: Annotated[dict[str, JsonValue], AfterValidator(_json_object)] = {}
    """The caller's own JSON, kept and exported, never sent."""

    def spec_sha256(self, reference_digests: Sequence[str]) -> str:
        """Return the digest of what may not change once images of the job are accepted.

        Args:
            reference_digests: Hex digest of each reference file, in the order of `references`.

        Returns:
            Hex SHA-256 of prompt, aspect ratio, size and reference digests, encoded as a JSON list.
        """
        spec = [self.prompt, self.aspect_ratio, self.size, list(reference_digests)]
        return hashlib.sha256(json.dumps(spec, separators=(",", ":")).encode("ascii")).hexdigest()


def read_jobs(path: str | Path) -> Iterator[Job]:
    """Yield the jobs of a file, one at a time: a million of them are never in memory.

    `.jsonl` holds one JSON object of a job's fields a line. `.csv` names fields in its header
    (`references` separated by `;`), other columns become metadata, an empty cell counts as not
    written. `.txt` holds one prompt a line, except blank lines and lines that start with `#`; the
    id is the file's name and the line number, `prompts-7`. Files are UTF-8; relative references
    are relative to the folder of the file.

    Args:
        path: The file.

    Raises:
        JobFileError: The file cannot be read (raised at once), or a line is wrong, an id comes
            twice or there is no job at all (raised when the iteration gets there). The message
            names file and line.
    """
    file = Path(path)
    read_rows = _READERS.get(file.suffix.lower())
    if read_rows is None:
        raise _file_error(file, f"ends in {file.suffix!r}; jobs are read from .jsonl, .csv or .txt")
    if "\0" in str(file) or not file.exists():
        raise _file_error(file, "does not exist; check the path")
    if file.is_dir():
        raise _file_error(file, "is a folder; give the path of one file")
    if not os.access(file, os.R_OK):
        raise _file_error(file, "may not be read; check its permissions")
    return _jobs(file, read_rows)


def _jobs(file: Path, read_rows: "_RowReader") -> Iterator[Job]:
    first_lines: dict[bytes, int] = {}
    try:
        with file.open("rb") as stream:
            for line, fields in read_rows(file, _text_lines(file, stream)):
                job = _job(file, line, fields)
                digest = hashlib.blake2b(job.id.encode(), digest_size=16).digest()
                first_line = first_lines.setdefault(digest, line)
                if first_line != line:
                    raise _file_error(
                        file,
                        f"the id {job.id!r} was already used on line {first_line}; "
                        "every job needs its own",
                        line,
                    )
                yield job
    except OSError as error:
        raise _file_error(file, f"cannot be read: {error.strerror or error}") from error
    if not first_lines:
        raise _file_error(file, "holds no job; write at least one")


def _job(file: Path, line: int, fields: "_Fields") -> Job:
    try:
        job = Job.model_validate(fields)
    except ValidationError as error:
        raise _file_error(file, _complaint(error), line) from None
    if not job.references:
        return job
    references = tuple(file.parent / reference for reference in job.references)
    return job.model_copy(update={"references": references})


def _text_lines(file: Path, stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of a file with their line ends; only a line feed ends a line."""
    for number, encoded in enumerate(stream, 1):
        if b"\0" in encoded:
            complaint = "contains a NUL byte; save the file as UTF-8 text"
            raise _file_error(file, complaint, number)
        try:
            yield encoded.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            complaint = f"is not UTF-8 from byte {error.start + 1} on; save the file as UTF-8"
            raise _file_error(file, complaint, number) from None


def _jsonl_rows(file: Path, lines: Iterator[str]) -> Iterator["_Row"]:
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            fields = json.loads(
                text.rstrip(), object_pairs_hook=_unique_keys, parse_constant=_no_json_constant
            )
        except json.JSONDecodeError as error:
            complaint = f"is not valid JSON: {error.msg} (column {error.colno})"
            raise _file_error(file, complaint, number) from None
        except (ValueError, RecursionError) as error:
            raise _file_error(file, f"is not valid JSON: {error}", number) from None
        if not isinstance(fields, dict):
            complaint = 'is no JSON object; write one a line, {"id": "a", "prompt": "a fox"}'
            raise _file_error(file, complaint, number)
        yield number, fields


def _unique_keys(pairs: list[tuple[str, object]]) -> "_Fields":
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} comes twice")
    return fields


def _no_json_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _txt_rows(file: Path, lines: Iterator[str]) -> Iterator["_Row"]:
    for number, text in enumerate(lines, 1):
        prompt = text.removesuffix("\n").removesuffix("\r")
        if prompt.strip() and not prompt.startswith("#"):
            yield number, {"id": f"{file.stem}-{number}", "prompt": prompt}


def _csv_rows(file: Path, lines: Iterator[str]) -> Iterator["_Row"]:
    reader = csv.reader(lines, strict=True)
    columns: list[str] = []
    next_line = 1
    try:
        for cells in reader:
            line, next_line = next_line, reader.line_num + 1
            if not any(cells):
                continue
            if not columns:
                columns = _csv_columns(file, line, cells)
            elif len(cells) != len(columns):
                complaint = f"has {len(cells)} cells, but the header has {len(columns)} columns"
                raise _file_error(file, f"{complaint}; quote cells that contain commas", line)
            else:
                yield line, _csv_fields(dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        complaint = f"is not valid CSV: {error}; check its quotes, or use .jsonl for long prompts"
        raise _file_error(file, complaint, next_line) from None


def _csv_columns(file: Path, line: int, header: list[str]) -> list[str]:
    columns = [name.strip() for name in header]
    for number, name in enumerate(columns, 1):
        if not name:
            raise _file_error(file, f"column {number} of the header has no name", line)
        if columns.index(name) != number - 1:
            raise _file_error(file, f"the header has the column {name!r} twice; drop one", line)
    if "metadata" in columns:
        complaint = "the header has a column 'metadata'; give each value a column of its own"
        raise _file_error(file, complaint, line)
    for name in ("id", "prompt"):
        if name not in columns:
            complaint = f"the header has no column {name!r}, only {', '.join(columns)}"
            raise _file_error(file, f"{complaint}; columns are separated by commas", line)
    return columns


def _csv_fields(cells: dict[str, str]) -> "_Fields":
    written = {name: cell for name, cell in cells.items() if cell}
    fields: _Fields = {name: cell for name, cell in written.items() if name in Job.model_fields}
    if "references" in written:
        names = (name.strip() for name in written["references"].split(";"))
        fields["references"] = [name for name in names if name]
    fields["metadata"] = {name: cell for name, cell in written.items() if name not in fields}
    return fields


def _complaint(error: ValidationError) -> str:
    """Say in words which field of a job is wrong and why."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return "the name of a field is no Unicode text; remove what is no character"
    name = str(first["loc"][0])
    match first["type"]:
        case "extra_forbidden":
            near = get_close_matches(name, Job.model_fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "put it into metadata"
            return f"{name!r} is no field of a job; {hint}"
        case "missing":
            return f"{name!r} is missing; every job needs an id and a prompt"
        case "value_error":
            return f"{name!r} {first['msg'].removeprefix('Value error, ')}"
        case _:
            return f"{name!r} is wrong: {first['msg']}, not {reprlib.repr(first['input'])}"


def _file_error(file: Path, complaint: str, line: int | None = None) -> JobFileError:
    place = f"{file}" if line is None else f"{file}, line {line}:"
    end = "" if complaint.endswith("?") else "."
    return JobFileError(f"{place} {one_line(complaint)}{end}", file=file, line=line)


_Fields = dict[str, object]
_Row = tuple[int, _Fields]
_RowReader = Callable[[Path, Iterator[str]], Iterator[_Row]]
_READERS: dict[str, _RowReader] = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".txt": _txt_rows}
