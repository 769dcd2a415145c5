"""Filters that fail the way native code does; in a module, so that another process finds them."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from nanobatch import Verdict

if TYPE_CHECKING:
    from nanobatch import Candidate


def crash(candidate: Candidate) -> bool:
    """Read where no memory is."""
    return bool(ctypes.string_at(0))


def hang(candidate: Candidate) -> bool:
    """Sleep in C, with the interpreter's lock: no Python code runs in this process any more."""
    ctypes.PyDLL(None).sleep(600)
    return True


def quit_at_once(candidate: Candidate) -> bool:
    """Leave as a process does that the system kills for its memory."""
    os._exit(137)


def shrink(candidate: Candidate) -> bool:
    """Change the picture in place, which a filter should not."""
    candidate.image.thumbnail((8, 8))
    candidate.image.paste((0, 0, 0), (0, 0, 4, 4))
    return True


def close(candidate: Candidate) -> bool:
    """Close the picture everybody shares."""
    candidate.image.close()
    return True


def where(candidate: Candidate) -> Verdict:
    """Accept, and say in which process, and how large the picture is."""
    return Verdict(accepted=True, score=os.getpid(), memo=repr(candidate.image.size).encode())
