"""What a conversion produced, as plain data: as JSON, as a page for a browser, as lines for the terminal.

Report, LayerReport, Quality, SCHEMA, plain; Fact, the lines of its headline
On disk
    render_report(result) -> Path      record_check(result, check)
    load_json(file) -> Any             HTML_FILE, REPORT_FILE; report.schema.json describes report.json
"""

from hgqify.report.facts import Fact
from hgqify.report.files import HTML_FILE, REPORT_FILE, load_json, record_check, render_report
from hgqify.report.report import SCHEMA, LayerReport, Quality, Report, plain

__all__ = [
    "HTML_FILE",
    "REPORT_FILE",
    "SCHEMA",
    "Fact",
    "LayerReport",
    "Quality",
    "Report",
    "load_json",
    "plain",
    "record_check",
    "render_report",
]
