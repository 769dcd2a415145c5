"""One call to an image model: the protocol, the Gemini adapter, the classes of failure."""

from nanobatch.backend.gemini import Gemini
from nanobatch.backend.protocol import ImageBackend, ImageRequest, JsonBackend, JsonRequest, Reply

__all__ = ["Gemini", "ImageBackend", "ImageRequest", "JsonBackend", "JsonRequest", "Reply"]
