"""Short training of a calibrated model, with the float model as teacher.

Run
    finetune -> FinetuneReport, FinetuneSettings
Losses
    Loss, make_loss
"""

from hgqify.finetune.finetune import FinetuneReport, finetune
from hgqify.finetune.losses import Loss, make_loss
from hgqify.finetune.settings import FinetuneSettings

__all__ = ["FinetuneReport", "FinetuneSettings", "Loss", "finetune", "make_loss"]
