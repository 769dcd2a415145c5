"""Images that a person chose to finish, as jobs that have their draft already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.checkpoint import InHand
from nanobatch.cost import Stage
from nanobatch.errors import ConfigError
from nanobatch.job import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanobatch.candidate import AcceptedImage
    from nanobatch.checkpoint import CheckpointReader
    from nanobatch.job import Job

__all__ = ["Chosen", "jobs_to_finish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """An accepted image that a person chose."""

    name: tuple[str, int]
    """Its job's id and its number."""

    draft: InHand
    """The image, as the draft of its finish."""


def jobs_to_finish(
    checkpoint: CheckpointReader, images: Iterable[AcceptedImage]
) -> tuple[list[Job], dict[str, Chosen]]:
    """Return one job for each image, and the image as the draft it has, by job id.

    Raises:
        ConfigError: An image is not from this checkpoint.
    """
    jobs: list[Job] = []
    chosen: dict[str, Chosen] = {}
    for image in images:
        job = checkpoint.job(image.job_id)
        if job is None or not image.path.is_relative_to(checkpoint.root):
            raise ConfigError(
                f"The image {image.path} is not from the checkpoint {checkpoint.root}: finish it "
                "with the pipeline that made it."
            )
        finish = job.model_copy(
            update={
                "id": f"{job.id}-{image.number}-finished",
                "want": 1,
                "best_of": 1,
                "route": Route.FINISH,
            }
        )
        jobs.append(finish)
        draft = InHand(
            candidate=0,  # it is accepted, so it is never accepted again as a draft
            slot=image.slot,
            stage=Stage.DRAFT,
            file=image.path.relative_to(checkpoint.root).as_posix(),
            sha256=image.sha256,
            score=image.score,
            is_picked=True,
        )
        chosen[finish.id] = Chosen(name=(image.job_id, image.number), draft=draft)
    return jobs, chosen
