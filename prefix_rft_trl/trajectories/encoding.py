"""Token ids of a demonstration's turns, as the chat template of a run gives them behind what comes before."""

from collections.abc import Callable, Iterable
from typing import Any

from prefix_rft_trl.method.demonstrations import Message
from prefix_rft_trl.method.trajectories import Trajectory, Turn, TurnTokens


# From messages, and whether a generation prompt follows them, to the token ids of the chat template
Render = Callable[[list[Message], bool], list[int]]


def render_with(tokenizer: Any, tools: list[Any] | None, **template_kwargs: Any) -> Render:
    """The chat template of a run with the tools of a row, as TRL renders its prompts."""

    def render(messages: list[Message], add_generation_prompt: bool) -> list[int]:
        return tokenizer.apply_chat_template(
            messages,
            tools=tools or None,
            add_generation_prompt=add_generation_prompt,
            tokenize=True,
            return_dict=False,
            **template_kwargs,
        )

    return render


def encode_turns(
    render: Render, prompt: list[Message], trajectory: Trajectory, stop_ids: Iterable[int]
) -> list[TurnTokens]:
    """Token ids of each assistant's turn of a demonstration, end of turn included.

    They do not depend on what tools have answered, so that they are the same behind the results of tools that are
    executed: TRL puts a generation prompt between a result and a turn, and no token goes across it.

    Args:
        render (`Callable`): the chat template.
        prompt (`list[dict]`): the messages in front.
        trajectory (`Trajectory`): the demonstration.
        stop_ids (`Iterable[int]`): ids that end a turn; what a template writes behind one belongs to the next message.

    Raises:
        ValueError: if the template does not continue its generation prompt with a turn.
    """
    before, encoded, stops = list(prompt), [], frozenset(stop_ids)
    for turn in trajectory.turns:
        encoded.append(_encode_turn(render, before, turn, stops))
        before += [turn.message, *turn.results]
    return encoded


def _encode_turn(render: Render, before: list[Message], turn: Turn, stops: frozenset[int]) -> TurnTokens:
    opened = render(before, True)

    def ids_with(calls: int) -> list[int]:
        message = {key: value for key, value in turn.message.items() if key != "tool_calls"}
        if calls:
            message["tool_calls"] = turn.calls[:calls]
        ids = render([*before, message], False)
        if ids[: len(opened)] != opened:
            raise ValueError(
                f"The chat template does not continue its generation prompt with the turn {turn.message!r:.120}. Give "
                "the model a template that keeps what came before, or set `chat_template_kwargs` so that it does."
            )
        return _through_last(ids[len(opened) :], stops)

    ids = ids_with(len(turn.calls))
    return TurnTokens(ids, [_shared_length(ids, ids_with(calls)) for calls in range(len(turn.calls))])


def _through_last(ids: list[int], stops: frozenset[int]) -> list[int]:
    """The ids up to the last of those that end a turn; all of them if there is none."""
    end = next((place for place in range(len(ids), 0, -1) if ids[place - 1] in stops), len(ids))
    return ids[:end]


def _shared_length(ids: list[int], others: list[int]) -> int:
    pairs = enumerate(zip(ids, others, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(ids), len(others)))
