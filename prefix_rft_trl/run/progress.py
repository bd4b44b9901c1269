"""How far a run has come: a small file in its folder while it trains, for those who show it from outside."""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .folder import readable_object


PROGRESS = "progress.json"


@dataclass(frozen=True)
class RunProgress:
    """
    Progress of a training.

    Attributes:
        step (`int`): optimizer steps made.
        steps (`int`): optimizer steps of the complete training.
        seconds_left (`float`, *optional*): from `written_at` to the end; `None` before the first step.
        written_at (`float`): seconds since the epoch.
        is_measuring (`bool`): whether it measures accuracy before its first step.
    """

    step: int
    steps: int
    seconds_left: float | None
    written_at: float
    is_measuring: bool = False

    @classmethod
    def read(cls, folder: Path) -> "RunProgress | None":
        """The progress of the run in a folder; `None` if none trains there, or if its file is just being written."""
        try:
            return cls(**readable_object(folder / PROGRESS))
        except TypeError:
            return None

    def write(self, folder: Path) -> None:
        with suppress(OSError):  # a run goes on without it
            (folder / PROGRESS).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @property
    def seconds_left_now(self) -> float | None:
        return None if self.seconds_left is None else max(0.0, self.seconds_left - time.time() + self.written_at)
