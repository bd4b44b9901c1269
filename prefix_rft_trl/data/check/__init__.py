"""What is wrong with a dataset, row by row, before a run finds out."""

from .check_report import Report
from .checking import Columns, check_dataset
from .findings import KINDS, Finding, Kind


__all__ = ["KINDS", "Columns", "Finding", "Kind", "Report", "check_dataset"]
