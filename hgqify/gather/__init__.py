"""What a report shows beyond single figures: the network with the width of every edge, histograms, outcomes.

    network(program) -> dict            the layers as a graph
    width_counts(states) -> pairs       how many elements have how many bits
    weight_histogram(...) -> dict       values of weights, float and quantized
    outcomes(outputs, logits) -> dict   confusion of classes, or residuals

All of it is plain data, of a size that does not grow with the model's weights or data.
"""

from hgqify.gather.histograms import weight_histogram, width_counts
from hgqify.gather.network import network
from hgqify.gather.outcomes import outcomes

__all__ = ["network", "outcomes", "weight_histogram", "width_counts"]
