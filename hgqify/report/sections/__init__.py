"""The sections of the page: functions from the report's data to markup, or to None for nothing to show."""

from hgqify.report.sections.order import sections
from hgqify.report.sections.section import Data, Section

__all__ = ["Data", "Section", "sections"]
