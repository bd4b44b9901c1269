"""Which rows go through the model together: those of similar length, so that little is padding.

The rows are those of one optimizer step; how they are divided among its passes does not change a sum over them.
"""

from itertools import accumulate

import numpy as np

from .columns import PassColumns


TOLERATED_PADDING = 1.05  # of the least that is possible, for the sake of fewer passes
ORDERS = (
    lambda row: (row.width, row.completion),
    lambda row: (row.completion, row.prompt),  # less padding where prompts differ much
)


def arrange(lengths: list[PassColumns], passes: int, rows_per_pass: int) -> list[list[int]]:
    """Divides rows among passes, from the shortest rows to the longest, after the passes without rows.

    The last pass has the longest rows on every process, so that processes wait little for each other.

    Args:
        lengths (`list[PassColumns]`): of each row.
        passes (`int`): that there are.
        rows_per_pass (`int`): that a pass takes at most; `passes * rows_per_pass` is at least the number of rows.

    Returns:
        `list[list[int]]`: indices of the rows of each pass, as few passes as keep the positions that go through the
        model within 5% of the least.
    """
    rows = range(len(lengths))
    orders = [sorted(rows, key=lambda row: (*order(lengths[row]), row)) for order in ORDERS]
    divided = [in_groups(order, lengths, passes, rows_per_pass) for order in orders]
    groups = min(divided, key=lambda groups: positions(groups, lengths))
    return [[] for _ in range(passes - len(groups))] + groups


def in_groups(order: list[int], lengths: list[PassColumns], most_groups: int, most_rows: int) -> list[list[int]]:
    sizes = group_sizes([lengths[row] for row in order], most_groups, most_rows)
    return [order[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def positions(groups: list[list[int]], lengths: list[PassColumns]) -> int:
    """Positions that go through the model, padding included."""
    return sum(len(group) * PassColumns.of_all(lengths[row] for row in group).width for group in groups)


def group_sizes(lengths: list[PassColumns], most_groups: int, most_rows: int) -> list[int]:
    """Sizes of consecutive groups, such that their rows times their width are few: a shortest path.

    Raises:
        ValueError: if the rows do not fit.
    """
    rows = len(lengths)
    if rows > most_groups * most_rows:
        raise ValueError(f"{rows} rows do not fit into {most_groups} passes of {most_rows}.")
    if rows == 0:
        return []
    costs = group_costs(lengths, min(most_rows, rows))
    least = np.full((most_groups + 1, rows + 1), np.inf)  # positions of the first rows in so many groups
    least[0, 0] = 0
    last_sizes = np.zeros((most_groups + 1, rows + 1), dtype=int)
    for groups in range(1, most_groups + 1):
        for size in range(1, len(costs) + 1):
            found = least[groups - 1, : rows + 1 - size] + costs[size - 1, : rows + 1 - size]
            better = found < least[groups, size:]
            least[groups, size:][better] = found[better]
            last_sizes[groups, size:][better] = size
    enough = least[:, rows] <= TOLERATED_PADDING * least[:, rows].min()
    sizes: list[int] = []
    for groups in range(int(enough.argmax()), 0, -1):
        sizes.insert(0, int(last_sizes[groups, rows - sum(sizes)]))
    return sizes


def group_costs(lengths: list[PassColumns], most_rows: int) -> np.ndarray:
    """Positions of the group of `size` rows from each row on, shape (sizes, rows); infinite beyond the last row."""
    sides = np.array([(length.prompt, length.completion) for length in lengths])
    costs = np.full((most_rows, len(lengths)), np.inf)
    widest = sides.copy()
    for size in range(1, most_rows + 1):
        first = len(lengths) + 1 - size
        widest[:first] = np.maximum(widest[:first], sides[size - 1 :])
        costs[size - 1, :first] = size * widest[:first].sum(axis=1)
    return costs
