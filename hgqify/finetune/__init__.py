"""Short training of a calibrated model, with the float model as teacher.

Run
    finetune -> Finetuned (FinetuneReport, Look, Collapse, Archive), FinetuneSettings
    OwnTraining: the user's loss, optimizer, callbacks, augmentation, class weights, features
    Storage: where the state is kept
    Devices: one, or all
Under a budget of EBOPs
    TrainingBudget (Limits)
Callbacks for any Keras training
    BudgetController (PriceController), BetaSchedule (log_ramp, steps): the price of EBOPs
    StopAtEbops, EarlyStoppingUnderEbops: when it ends
    EbopsLog, ParetoArchive (ArchiveFolder), TrainingProgress
Losses
    Loss, make_loss
What it passed through
    Archive, Entry, Stage
"""

from hgqify.finetune.archive import Archive, ArchiveFolder, Entry, Stage
from hgqify.finetune.budget import TrainingBudget
from hgqify.finetune.callbacks import BudgetController, Collapse, EbopsLog
from hgqify.finetune.controller import PriceController
from hgqify.finetune.devices import Devices
from hgqify.finetune.finetune import Finetuned, finetune
from hgqify.finetune.fit_callbacks import ParetoArchive, TrainingProgress
from hgqify.finetune.judge import Look
from hgqify.finetune.losses import Loss, make_loss
from hgqify.finetune.own import OwnTraining
from hgqify.finetune.report import FinetuneReport
from hgqify.finetune.schedules import (
    BetaSchedule,
    EarlyStoppingUnderEbops,
    StopAtEbops,
    log_ramp,
    steps,
)
from hgqify.finetune.settings import FinetuneSettings
from hgqify.finetune.storage import Storage
from hgqify.finetune.twin import Limits

__all__ = [
    "Archive",
    "ArchiveFolder",
    "BetaSchedule",
    "BudgetController",
    "Collapse",
    "Devices",
    "EarlyStoppingUnderEbops",
    "EbopsLog",
    "Entry",
    "FinetuneReport",
    "FinetuneSettings",
    "Finetuned",
    "Limits",
    "Look",
    "Loss",
    "OwnTraining",
    "ParetoArchive",
    "PriceController",
    "Stage",
    "StopAtEbops",
    "Storage",
    "TrainingBudget",
    "TrainingProgress",
    "finetune",
    "log_ramp",
    "make_loss",
    "steps",
]
