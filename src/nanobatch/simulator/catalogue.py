"""Which models the simulated Gemini serves, what each can draw or say, and until when.

Source: the Gemini API model pages, deprecations page and image generation guide
(https://ai.google.dev/gemini-api/docs/models, /deprecations, /image-generation), as collected on
2026-11-23; no live check. Where pages disagree the dearer or earlier value is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Final

__all__ = ["ALIASES", "MODELS", "Drawer", "nearest_ratio", "pixel_size"]

_TEN: Final = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_FOURTEEN: Final = (*_TEN, "1:4", "4:1", "1:8", "8:1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawer:
    """One model: what it accepts and how many tokens its answers have."""

    id: str
    """The id in the URL."""

    name: str
    """What people call it."""

    image_tokens: dict[str, int] = field(default_factory=dict[str, int])
    """Tokens of one image, by size; empty for a model that only answers in words."""

    aspect_ratios: tuple[str, ...] = _FOURTEEN
    """Ratios it draws."""

    thoughts: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Fewest and most thinking tokens, by level it knows; empty if it does not think."""

    default_level: str = ""
    """Thinking level when the request names none."""

    ignores_level: bool = False
    """Whether it thinks as it likes, whatever level is asked for."""

    mime_type: str = "image/png"
    """Format of its images."""

    max_prompt_tokens: int = 65_536
    """Input token limit."""

    max_output_tokens: int = 32_768
    """Output token limit."""

    retires: date | None = None
    """First day on which it answers 404; `None` if none is announced."""

    @property
    def answers_in_words(self) -> bool:
        """Whether it looks at images and draws none."""
        return not self.image_tokens

    @property
    def tier(self) -> str:
        """The tier in which it paints."""
        return "lite" if "lite" in self.id else "quality"


# Thinking: measured ranges are known for 3.1 Flash Image high (700-792) and Pro (50-350) only;
# Nano Banana 2.1's are chosen around the price pages' "about 800 at medium" (unverified).
_ALL = (
    Drawer(
        id="gemini-3.1-flash-lite-image",
        name="Nano Banana 2 Lite",
        image_tokens={"1K": 1120},
        thoughts={"MINIMAL": (0, 0), "HIGH": (700, 792)},
        default_level="MINIMAL",
        max_output_tokens=4_096,
    ),
    Drawer(
        id="gemini-nano-banana-2.1",
        name="Nano Banana 2.1",
        image_tokens={"1K": 1120, "2K": 1680, "4K": 3780},
        thoughts={"MINIMAL": (0, 0), "MEDIUM": (600, 900), "HIGH": (900, 1300)},
        default_level="MEDIUM",
    ),
    Drawer(
        id="gemini-3-pro-image",
        name="Nano Banana Pro",
        image_tokens={"1K": 1120, "2K": 1120, "4K": 2000},
        aspect_ratios=_TEN,
        thoughts={"ON": (50, 350)},
        default_level="ON",
        ignores_level=True,
        mime_type="image/jpeg",
    ),
    Drawer(
        id="gemini-3.1-flash-image",
        name="Nano Banana 2",
        image_tokens={"512": 747, "1K": 1120, "2K": 1680, "4K": 2520},
        thoughts={"MINIMAL": (0, 0), "HIGH": (700, 792)},
        default_level="MINIMAL",
        max_prompt_tokens=131_072,
        retires=date(2026, 10, 29),
    ),
    Drawer(
        id="gemini-2.5-flash-image",
        name="Nano Banana",
        image_tokens={"1K": 1290},
        aspect_ratios=_TEN,
        retires=date(2026, 10, 2),
    ),
    # Both think little enough not to matter; the range is chosen, not measured.
    Drawer(
        id="gemini-3.1-flash-lite",
        name="Gemini 3.1 Flash-Lite",
        thoughts={"MINIMAL": (0, 0), "LOW": (20, 60), "MEDIUM": (60, 200), "HIGH": (200, 800)},
        default_level="MINIMAL",
        max_prompt_tokens=1_048_576,
        max_output_tokens=65_536,
    ),
    Drawer(
        id="gemini-3.8-flash",
        name="Gemini 3.8 Flash",
        thoughts={"MINIMAL": (0, 0), "LOW": (20, 60), "MEDIUM": (60, 200), "HIGH": (200, 800)},
        default_level="MEDIUM",
        max_prompt_tokens=1_048_576,
        max_output_tokens=65_536,
    ),
)
MODELS: Final = {drawer.id: drawer for drawer in _ALL}

ALIASES: Final = {"nano-banana-pro-preview": "gemini-3-pro-image"}
"""Other ids the API itself accepts."""

_PIXELS: Final = {
    "1:1": (1024, 1024), "2:3": (848, 1264), "3:2": (1264, 848), "3:4": (896, 1200),
    "4:3": (1200, 896), "4:5": (928, 1152), "5:4": (1152, 928), "9:16": (768, 1376),
    "16:9": (1376, 768), "21:9": (1584, 672),
    # Not in the published table: chosen at the same area.
    "1:4": (512, 2048), "4:1": (2048, 512), "1:8": (384, 3072), "8:1": (3072, 384),
}  # fmt: skip
_SCALE: Final = {"512": 0.5, "1K": 1.0, "2K": 2.0, "4K": 4.0}
_SMALLEST_PX: Final = 16


def pixel_size(aspect_ratio: str, size: str, *, pixels: float = 1.0) -> tuple[int, int]:
    """Return width and height in pixels of an image, `pixels` being a linear scale."""
    width, height = _PIXELS[aspect_ratio]
    scale = _SCALE[size] * pixels
    return max(_SMALLEST_PX, round(width * scale)), max(_SMALLEST_PX, round(height * scale))


def nearest_ratio(width_px: int, height_px: int, *, among: tuple[str, ...]) -> str:
    """Return the ratio closest to that of an image."""

    def distance(ratio: str) -> float:
        wide, high = (int(part) for part in ratio.split(":"))
        want, have = wide / high, width_px / height_px
        return max(want, have) / min(want, have)

    return min(among, key=distance)
