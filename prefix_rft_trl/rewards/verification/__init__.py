"""Math-Verify made safe: worker processes, time limits, and corrections of its verdicts."""
