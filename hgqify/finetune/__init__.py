"""Short training of a calibrated model, with the float model as teacher.

Run
    finetune -> FinetuneReport, FinetuneSettings
Losses
    Loss, make_loss
What it passed through
    Archive, Entry, Stage
"""

from hgqify.finetune.archive import Archive, Entry, Stage
from hgqify.finetune.finetune import FinetuneReport, finetune
from hgqify.finetune.losses import Loss, make_loss
from hgqify.finetune.settings import FinetuneSettings

__all__ = [
    "Archive",
    "Entry",
    "FinetuneReport",
    "FinetuneSettings",
    "Loss",
    "Stage",
    "finetune",
    "make_loss",
]
