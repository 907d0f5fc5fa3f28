"""Streaming access to calibration, training and hold-out data.

`open_source` turns whatever the user has (a file, arrays, a dataset object) into a `Source` of
checked float32 batches. No source ever holds more of the data in memory than a few batches.
"""

from hgqify.data.collect import collect
from hgqify.data.open import open_source
from hgqify.data.shapes import check_against
from hgqify.data.source import Batch, Source

__all__ = ["Batch", "Source", "check_against", "collect", "open_source"]
