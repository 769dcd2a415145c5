"""What a complete answer without an image is called, by the one table."""

from __future__ import annotations

import pytest

from nanobatch.backend import Reply
from nanobatch.backend.faults import EMPTY, REFUSED, UNSAFE, Fault, fault_of_reply


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (Reply(block_reason="OTHER"), REFUSED),
        (Reply(block_reason="A_NEW_REASON"), REFUSED),
        (Reply(finish_reason="SAFETY"), REFUSED),
        (Reply(finish_reason="PROHIBITED_CONTENT"), REFUSED),
        (Reply(finish_reason="IMAGE_PROHIBITED_CONTENT"), REFUSED),
        (Reply(finish_reason="BLOCKLIST"), REFUSED),
        (Reply(finish_reason="SPII"), REFUSED),
        (Reply(finish_reason="IMAGE_SAFETY"), UNSAFE),
        (Reply(finish_reason="IMAGE_RECITATION"), EMPTY),
        (Reply(finish_reason="NO_IMAGE"), EMPTY),
        (Reply(finish_reason="STOP", text="I'm sorry."), EMPTY),
        (Reply(), EMPTY),
        (Reply(images=(b"an image",)), None),
        (Reply(images=(b"an image",), finish_reason="SAFETY"), None),
    ],
)
def test_an_answer_without_an_image_is_refused_unsafe_or_empty(
    reply: Reply, fault: Fault | None
) -> None:
    assert fault_of_reply(reply) is fault
