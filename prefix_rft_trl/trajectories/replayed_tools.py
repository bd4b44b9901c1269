"""Tools that answer as in a demonstration, for calls that are not executed."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class ReplayedTools(Mapping[str, Any]):
    """Tools of a row whose first calls get the results of a demonstration, and are not executed.

    Args:
        tools (`Mapping[str, Callable]`): the real ones, by name.
        results (`list[str]`): of the calls in the turns that are served, in order.
    """

    def __init__(self, tools: Mapping[str, Any], results: Sequence[str]) -> None:
        self._tools, self._results = tools, deque(results)

    def __contains__(self, name: object) -> bool:
        return bool(self._results) or name in self._tools

    def __getitem__(self, name: str) -> Any:
        if not self._results:
            return self._tools[name]
        result = self._results.popleft()
        return lambda **arguments: result

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)
