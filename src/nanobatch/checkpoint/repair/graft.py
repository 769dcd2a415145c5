"""A database whose first page is destroyed gets the list of its tables back from a new one.

SQLite keeps that list at the very beginning of the file. Our tables are always made by the same
statements in the same order, so in every checkpoint they begin at the same pages.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from typing import TYPE_CHECKING

from nanobatch.checkpoint.schema import create_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["graft"]

PAGE_BYTES = 4096
# Source: https://www.sqlite.org/fileformat2.html, sections 1.3 and 1.6.
_HEADER_BYTES = 100
_PAGE_COUNT = 28
_FREE_LIST = slice(32, 40)
_INTERIOR = 5
_CELL_COUNT = 3
_LAST_CHILD = 8
_CELL_POINTERS = 12


def graft(damaged: bytes) -> bytes:
    """Return the bytes of a database with the list of tables of a new one.

    Args:
        damaged: All bytes of a checkpoint's database, whatever is left of them.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        create_tables(connection)
        new = connection.serialize()
    pages = -(-max(len(damaged), len(new)) // PAGE_BYTES)
    whole = bytearray(damaged.ljust(pages * PAGE_BYTES, b"\0"))
    for page in _pages_of_tables(new, 1):
        place = slice((page - 1) * PAGE_BYTES, page * PAGE_BYTES)
        whole[place] = new[place]
    struct.pack_into(">I", whole, _PAGE_COUNT, pages)
    whole[_FREE_LIST] = bytes(8)  # it is only read, so no free page is needed
    return bytes(whole)


def _pages_of_tables(database: bytes, page: int) -> Iterator[int]:
    """Yield a page of the list of tables, and those below it."""
    yield page
    start = (page - 1) * PAGE_BYTES
    header = start + (_HEADER_BYTES if page == 1 else 0)
    if database[header] != _INTERIOR:
        return
    (cells,) = struct.unpack_from(">H", database, header + _CELL_COUNT)
    for n in range(cells):
        (cell,) = struct.unpack_from(">H", database, header + _CELL_POINTERS + 2 * n)
        (child,) = struct.unpack_from(">I", database, start + cell)
        yield from _pages_of_tables(database, child)
    (child,) = struct.unpack_from(">I", database, header + _LAST_CHILD)
    yield from _pages_of_tables(database, child)
