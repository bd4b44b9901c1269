"""Rows of a batch in TRL's tool loop: the turns of demonstrations that they get, and the spans where they stand.

TRL asks for the rows that called a tool with everything so far as ids. They are recognized by the message of a tool
that the loop has appended to their completion since it asked for them last: rows keep their order, and a result that
does not fit the budget has been taken back.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from prefix_rft_trl.method.demonstrations import Message
from prefix_rft_trl.method.prefixes import Prefix
from prefix_rft_trl.method.trajectories import TurnPiece


@dataclass
class ToolRounds:
    """The rows of one process while TRL's tool loop runs.

    Attributes:
        prompt_lengths (`list[int]`): in tokens.
        completions (`list[list[dict]]`): messages of each row, to which the loop appends.
        prefixes (`list[Prefix]`): of the rows.
        stops_where_results_differ (`bool`): whether a row is on-policy from where a tool answers otherwise than in
            its demonstration.
        results (`int`): served turns whose tools have answered.
        results_that_differ (`int`): those of them with another answer than in the demonstration.
        requested (`list[int]`): indices of the rows that the loop has asked for last.
    """

    prompt_lengths: list[int]
    completions: list[list[Message]]
    prefixes: list[Prefix]
    stops_where_results_differ: bool = False
    results: int = 0
    results_that_differ: int = 0
    requested: list[int] = field(default_factory=list)
    _seen: list[int] = field(default_factory=list)
    _served: list[list[TurnPiece]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen = [len(messages) for messages in self.completions]
        self._served = [list(prefix.pieces[:1]) for prefix in self.prefixes]

    def rows(self, requested: int) -> list[int]:
        """Indices of the rows that the loop asks for.

        Raises:
            RuntimeError: if that are not as many as it asks for.
        """
        rows = [
            row
            for row, messages in enumerate(self.completions)
            if len(messages) > self._seen[row] and messages[-1]["role"] == "tool"
        ]
        if len(rows) != requested:
            raise RuntimeError(f"TRL's tool loop asks for {requested} rows, of which {len(rows)} have called a tool.")
        for row in rows:
            self._seen[row] = len(self.completions[row])
        self.requested = rows
        return rows

    def next_piece(self, row: int, ids_before: int) -> TurnPiece | None:
        """The piece of its demonstration that a row gets now; `None` if the policy samples the turn.

        Args:
            row (`int`): of the batch.
            ids_before (`int`): tokens of its prompt and its completion so far.
        """
        served, prefix = self._served[row], self.prefixes[row]
        if not (served and served[-1].is_complete):
            return None
        # TRL puts the results of async tools behind those of the others
        differs = Counter(trailing_results(self.completions[row])) != Counter(served[-1].results)
        self.results += 1
        self.results_that_differ += differs
        if len(served) == len(prefix.pieces) or (differs and self.stops_where_results_differ):
            self._served[row] = [*served, TurnPiece([], False, [])]
            return None
        piece = prefix.pieces[len(served)]
        served.append(piece)
        start = ids_before - self.prompt_lengths[row]
        self.prefixes[row] = replace(prefix, spans=(*prefix.spans, (start, start + len(piece.ids))))
        return piece


def trailing_results(messages: Sequence[Message]) -> list[str]:
    """Contents of the messages of tools at the end of a conversation."""
    first = next((place for place in range(len(messages), 0, -1) if messages[place - 1]["role"] != "tool"), 0)
    return [str(message["content"]) for message in messages[first:]]
