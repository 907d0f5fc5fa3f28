"""What a conversion produced, as plain data: for JSON, and as a few lines for the terminal.

Report, LayerReport, Quality, SCHEMA, plain
"""

from hgqify.report.report import SCHEMA, LayerReport, Quality, Report, plain

__all__ = ["SCHEMA", "LayerReport", "Quality", "Report", "plain"]
