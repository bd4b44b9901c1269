"""Check a dataset row by row, before a run meets its faults."""

from .check_report import Report
from .checked_rows import Columns
from .checking import check_dataset
from .findings import KINDS, Finding, FindingKind


__all__ = ["KINDS", "Columns", "Finding", "FindingKind", "Report", "check_dataset"]
