"""Every exception of nanobatch, in one tree; a class answers one question: who must act?

    NanobatchError
    |-- ConfigError                 the caller: something handed to the library is wrong
    |   |-- RegistryError           the caller's model config (names file and key)
    |   |   `-- UnknownModelError   no such role, id or alias
    |   |-- ModelRetiredError       the caller: switch to the replacement it names
    |   |-- PriceUnknownError       the caller: the model has no price for that day or size
    |   |-- MissingKeyError         the caller: no API key was found
    |   `-- JobError                the caller: one job cannot be carried out as written
    |       |-- JobFileError        a jobs file cannot be read (names file and line)
    |       |-- JobChangedError     a job changed although images of it were accepted
    |       `-- DuplicateJobError   two different jobs share an id
    |-- CheckpointError             whoever owns the disk
    |   `-- CheckpointLockedError   another process is writing (names its pid)
    |-- FilterError                 the author of the filter
    |-- BrokenImageError            nobody: the bytes are no readable image
    `-- ProviderError               raised by backends, translated once, in `nanobatch.backend`
        |-- TransientError          nobody: try again
        |-- BadRequestError         the caller: this request will never work
        |-- ModelGoneError          the caller: this model does not answer any more
        `-- AccountError            the account's owner: key, credit or quota

A rejected image is a `Verdict` and a refused prompt is an outcome: neither is an exception.
Facts are attributes, errors pickle, and `str()` says what happened and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

__all__ = [
    "AccountError",
    "BadRequestError",
    "BrokenImageError",
    "CheckpointError",
    "CheckpointLockedError",
    "ConfigError",
    "DuplicateJobError",
    "FilterError",
    "JobChangedError",
    "JobError",
    "JobFileError",
    "MissingKeyError",
    "ModelGoneError",
    "ModelRetiredError",
    "ModelRetiringWarning",
    "NanobatchError",
    "PriceUnknownError",
    "ProviderError",
    "RegistryError",
    "TransientError",
    "UnknownModelError",
]


MAX_SHOWN_CHARACTERS = 600


def one_line(text: str) -> str:
    """Return words from a file as a message may hold them: printable, on one line, not endless."""
    shown = text[:MAX_SHOWN_CHARACTERS]
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)
    return shown if len(text) <= MAX_SHOWN_CHARACTERS else f"{shown}…"


class NanobatchError(Exception):
    """Base of everything nanobatch raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by message and facts, so that errors survive a process boundary."""
        return (_rebuild, (type(self), str(self), dict(self.__dict__)))


def _rebuild(kind: type[NanobatchError], message: str, facts: dict[str, object]) -> NanobatchError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(facts)
    return error


class ConfigError(NanobatchError, ValueError):
    """Something the caller handed over is wrong; nothing was sent and nothing was spent."""


class RegistryError(ConfigError):
    """The model configuration cannot be used."""

    def __init__(self, message: str, *, file: Path | None = None, key: str = "") -> None:
        self.file = file
        """The TOML file at fault; `None` for the built-in registry."""
        self.key = key
        """The dotted TOML key at fault; empty when the file as a whole is at fault."""
        super().__init__(message)


class UnknownModelError(RegistryError):
    """No role, id or alias of that name is known."""


class ModelRetiredError(ConfigError):
    """The provider has switched this model off."""

    def __init__(
        self, message: str, *, model_id: str, retired_on: date, replacement: str = ""
    ) -> None:
        self.model_id = model_id
        self.retired_on = retired_on
        self.replacement = replacement
        """The id to switch to; empty if none is known."""
        super().__init__(message)


class ModelRetiringWarning(UserWarning):
    """A model in use is switched off within 60 days."""


class PriceUnknownError(ConfigError):
    """The price of a call cannot be stated, so the call is not made."""

    def __init__(self, message: str, *, model_id: str) -> None:
        self.model_id = model_id
        super().__init__(message)


class MissingKeyError(ConfigError):
    """No API key was given and none was found in the environment."""


class JobError(ConfigError):
    """One job cannot be carried out as it is written."""

    def __init__(self, message: str, *, job_id: str = "") -> None:
        self.job_id = job_id
        super().__init__(message)


class JobFileError(JobError):
    """A file of jobs cannot be read."""

    def __init__(self, message: str, *, file: Path, line: int | None = None) -> None:
        self.file = file
        self.line = line
        """1-based line number; `None` when the file as a whole is at fault."""
        super().__init__(message)


class JobChangedError(JobError):
    """A job's prompt, references, ratio or size changed although images of it were accepted."""


class DuplicateJobError(JobError):
    """Two different jobs of one run share an id."""


class CheckpointError(NanobatchError):
    """The checkpoint cannot be opened, read or written."""

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        self.path = path
        super().__init__(message)


class CheckpointLockedError(CheckpointError):
    """Another process is writing to this checkpoint."""

    def __init__(self, message: str, *, path: Path | None = None, pid: int | None = None) -> None:
        self.pid = pid
        """Process id of the holder; `None` if it did not say."""
        super().__init__(message, path=path)


class FilterError(NanobatchError):
    """A filter keeps failing; the images it could not judge wait in `staging/`."""

    def __init__(self, message: str, *, filter_name: str = "") -> None:
        self.filter_name = filter_name
        super().__init__(message)


class BrokenImageError(NanobatchError):
    """The bytes of a candidate are not one complete, readable image."""


class ProviderError(NanobatchError):
    """One call to an image model failed; which subclass says who must act."""

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        status: int | None = None,
        is_unknown_money: bool = False,
    ) -> None:
        self.kind = kind
        """A stable word for tables: `rate_limit`, `server_error`, `timeout`, `bad_request`, ..."""
        self.status = status
        """HTTP status of a complete answer; `None` when there was none."""
        self.is_unknown_money = is_unknown_money
        """Whether the request was sent and nobody can know what it cost."""
        super().__init__(message if message.isprintable() else one_line(message))


class TransientError(ProviderError):
    """The same request may work later."""

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        status: int | None = None,
        is_unknown_money: bool = False,
        slow_down: bool = False,
        retry_after_seconds: float | None = None,
        body: bytes = b"",
    ) -> None:
        self.slow_down = slow_down
        """Whether the provider asks everybody for less (429, 503, 408)."""
        self.retry_after_seconds = retry_after_seconds
        """The provider's own wait, in seconds; `None` if it named none."""
        self.body = body
        """A paid answer that could not be read, for quarantine; never shown, never pickled."""
        super().__init__(message, kind=kind, status=status, is_unknown_money=is_unknown_money)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the body behind: it may hold image bytes."""
        return (_rebuild, (type(self), str(self), {**self.__dict__, "body": b""}))


class BadRequestError(ProviderError):
    """This request will never work as it is."""


class ModelGoneError(ProviderError):
    """The provider does not know this model, or no longer serves it to this account."""


class AccountError(ProviderError):
    """Key, credit or quota: no call of this account can work until its owner acts."""
