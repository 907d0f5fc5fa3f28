"""What helps to train quantized models by hand with `keras.Model.fit`, in one place.

EBOPs are bits times bits of every multiplication of one inference, widths are bits, and a price of EBOPs
(beta) is in units of the loss for one EBOP.

Ranges
    trace_ranges: integer bits of wrapping quantizers from data
Counting
    total_ebops, ebops_breakdown (LayerEbops), refresh, quantized_layers
Callbacks: the price of EBOPs
    BetaSchedule (log_ramp, steps) by schedule, BudgetController so that a budget is kept
Callbacks: what is kept, when it ends, what is told
    ParetoArchive, StopAtEbops, EarlyStoppingUnderEbops, EbopsLog, TrainingProgress
"""

from hgqify.finetune import (
    BetaSchedule,
    BudgetController,
    EarlyStoppingUnderEbops,
    EbopsLog,
    ParetoArchive,
    StopAtEbops,
    TrainingProgress,
    log_ramp,
    steps,
)
from hgqify.layers import LayerEbops, ebops_breakdown, quantized_layers, refresh, total_ebops
from hgqify.utils.trace import trace_ranges

__all__ = [
    "BetaSchedule",
    "BudgetController",
    "EarlyStoppingUnderEbops",
    "EbopsLog",
    "LayerEbops",
    "ParetoArchive",
    "StopAtEbops",
    "TrainingProgress",
    "ebops_breakdown",
    "log_ramp",
    "quantized_layers",
    "refresh",
    "steps",
    "total_ebops",
    "trace_ranges",
]
