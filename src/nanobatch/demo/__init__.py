"""The demo: a whole batch of wallpapers, with a real key or with a simulated Gemini."""

from nanobatch.demo.command import main

__all__ = ["main"]
