"""Which sections the page has, and in which order."""

from collections.abc import Iterator

from hgqify.report.sections.distributions import ranges, widths
from hgqify.report.sections.layers import layers
from hgqify.report.sections.network import network
from hgqify.report.sections.outcomes import outcomes
from hgqify.report.sections.section import Data, Section
from hgqify.report.sections.statements import conversion, exactness, reproduction
from hgqify.report.sections.training import pareto, training


def sections(data: Data) -> Iterator[Section]:
    """The sections that there is something to show in."""
    makers = (
        network,
        layers,
        outcomes,
        pareto,
        training,
        widths,
        ranges,
        exactness,
        conversion,
        reproduction,
    )
    for make in makers:
        section = make(data)
        if section is not None:
            yield section
