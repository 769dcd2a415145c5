"""What authors of filters and backends need to test them, without a key and for free."""

from nanobatch.testing.backend import ScriptedBackend
from nanobatch.testing.check import CheckedImage, FilterCheck, check_filter
from nanobatch.testing.gallery import GalleryImage, gallery

__all__ = [
    "CheckedImage",
    "FilterCheck",
    "GalleryImage",
    "ScriptedBackend",
    "check_filter",
    "gallery",
]
