"""Draws the pictures of the simulator: procedural wallpapers, and everything that can be wrong."""

from nanobatch.simulator.drawing.files import JPEG, PNG, File
from nanobatch.simulator.drawing.gallery import Kind, finish, picture
from nanobatch.simulator.drawing.scenes import Motif, choose

__all__ = ["JPEG", "PNG", "File", "Kind", "Motif", "choose", "finish", "picture"]
