"""From HGQ2 and back: trained models of one framework in the other, with the same codes.

HGQ2 is no dependency: it is imported when one of these is called (``pip install 'hgqify[hgq2]'``).

import_model: an HGQ2 model, or its file, as a model of our layers
to_hgq2: a model of our layers as an HGQ2 model
"""

from hgqify.hgq2.exporting import to_hgq2
from hgqify.hgq2.importing import import_model

__all__ = ["import_model", "to_hgq2"]
