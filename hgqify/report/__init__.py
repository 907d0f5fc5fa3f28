"""What a conversion produced, as plain data: for JSON, and as a few lines for the terminal.

Report, LayerReport, Quality, SCHEMA, plain; Fact, the lines of its headline
"""

from hgqify.report.facts import Fact
from hgqify.report.report import SCHEMA, LayerReport, Quality, Report, plain

__all__ = ["SCHEMA", "Fact", "LayerReport", "Quality", "Report", "plain"]
