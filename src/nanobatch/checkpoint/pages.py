"""How a checkpoint is read: a page of rows at a time, on a connection of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TypeVar

from nanobatch.checkpoint.files import ImageFiles
from nanobatch.checkpoint.rows import CANDIDATES, THUMBNAIL, Row, image_of, refuse_blobs
from nanobatch.checkpoint.schema import connect_reading
from nanobatch.checkpoint.trouble import database_errors, row_errors
from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path
    from types import TracebackType

    from nanobatch.candidate import AcceptedImage

__all__ = ["Pages"]

T = TypeVar("T")

PAGE_ROWS = 500


class Pages:
    """An open database and its rows in pages, with no transaction held between them."""

    def __init__(self, location: Path) -> None:
        self.root = location
        """The checkpoint's folder, absolute."""
        self._files = ImageFiles(location)
        self._reading: sqlite3.Connection | None = connect_reading(location)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the database."""
        self.close_reading()

    def __repr__(self) -> str:
        """Show where it is."""
        return f"{type(self).__name__}({str(self.root)!r})"

    def close_reading(self) -> None:
        """Close the database."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _image(self, row: Row) -> AcceptedImage:
        return image_of(row, self._files)

    def _values(
        self,
        value_of: Callable[[Row], T],
        query: str,
        where: str = "true",
        values: tuple[object, ...] = (),
    ) -> Iterator[T]:
        but = THUMBNAIL if query is CANDIDATES else None
        for page in self._chunks(query, where, values):
            read: list[T] = []
            try:
                with row_errors(self.root):
                    for row in page:
                        refuse_blobs(row, but=but)
                        read.append(value_of(row))
            except CheckpointError:
                yield from read
                raise
            yield from read

    def _pages(
        self, query: str, where: str = "true", values: tuple[object, ...] = ()
    ) -> Iterator[Row]:
        for page in self._chunks(query, where, values):
            yield from page

    def _chunks(
        self, query: str, where: str = "true", values: tuple[object, ...] = ()
    ) -> Iterator[list[Row]]:
        query = query.replace("{where}", where)
        last = 0
        while True:
            page = self._rows(query, (last, *values, PAGE_ROWS))
            yield page
            if len(page) < PAGE_ROWS:
                return
            last = page[-1][0]

    @contextmanager
    def _reading_rows(self) -> Generator[None]:
        """Say in a sentence what is wrong with the database or its rows."""
        with database_errors(self.root, self._unreadable), row_errors(self.root):
            yield

    def _rows(self, query: str, values: tuple[object, ...] | dict[str, object] = ()) -> list[Row]:
        """Return all rows of a query at once, so that no transaction stays open."""
        with database_errors(self.root, self._unreadable):
            return self._connection().execute(query, values).fetchall()

    @property
    def _unreadable(self) -> str:
        return f"The checkpoint {self.root} could not be read"

    def _connection(self) -> sqlite3.Connection:
        if self._reading is None:
            raise CheckpointError(
                f"The checkpoint {self.root} is closed: use it inside its `with` block.",
                path=self.root,
            )
        return self._reading
