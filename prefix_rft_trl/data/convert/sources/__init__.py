"""The datasets that are known by name, and how any other is read."""

from .known_sources import SOURCES, Source


__all__ = ["SOURCES", "Source"]
