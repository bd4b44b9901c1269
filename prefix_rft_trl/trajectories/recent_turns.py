"""Keep the encoded turns of recent demonstrations: rollouts of a group share them, and epochs repeat them."""

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from prefix_rft_trl.method.trajectories import Trajectory, TurnTokens


class RecentTurns:
    """Encoded turns by all that they depend on; those that were asked for longest ago are dropped.

    Args:
        size (`int`): demonstrations that are kept.
    """

    def __init__(self, size: int = 512) -> None:
        self._size = size
        self._kept: OrderedDict[str, list[TurnTokens]] = OrderedDict()

    def get(
        self, prompt: Any, trajectory: Trajectory, environment: Any, encode: Callable[[], list[TurnTokens]]
    ) -> list[TurnTokens]:
        """The turns of a demonstration, encoded if they are not kept.

        Args:
            prompt (`list[dict]`): the messages in front.
            trajectory (`Trajectory`): the demonstration.
            environment: name of the one that gives the row its tools.
            encode (`Callable`): makes them.
        """
        key = json.dumps([prompt, trajectory.messages, environment], default=str)
        found = self._kept.pop(key, None)
        self._kept[key] = encode() if found is None else found
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return self._kept[key]
