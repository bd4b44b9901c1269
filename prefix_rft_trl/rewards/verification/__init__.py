"""Math-Verify made safe: worker processes, time limits, and what it gets wrong."""
