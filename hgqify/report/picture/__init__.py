"""The network as a picture: a layered layout of our own, drawn as SVG."""

from hgqify.report.picture.drawing import draw
from hgqify.report.picture.layout import Layout, lay_out

__all__ = ["Layout", "draw", "lay_out"]
