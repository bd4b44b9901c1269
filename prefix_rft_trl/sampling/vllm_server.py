"""A vLLM server that goes away ends the run on all processes at once.

The main process asks it, while the others wait in TRL's broadcast of the answer. If it raised there, they would wait
until their launcher ends them, or for half an hour. So it goes on with nothing, and all raise.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from accelerate.utils import broadcast_object_list

from prefix_rft_trl.utils.patching import replaced


@contextmanager
def ending_together(vllm_generation: Any) -> Iterator[None]:
    """While it is open, a server that TRL cannot reach answers nothing; when it closes, that is an error.

    Every process opens and closes it, around the weight sync too.

    Args:
        vllm_generation ([`~trl.generation.vllm_generation.VLLMGeneration`], *optional*): of the trainer. Nothing
            changes for an engine in the same process.

    Raises:
        RuntimeError: on every process, if the server could not be reached or refused a request.
    """
    if vllm_generation is None or vllm_generation.mode != "server":
        yield
        return
    failures: list[Exception] = []
    if vllm_generation.accelerator.is_main_process:  # TRL has a client there alone
        client = vllm_generation.vllm_client
        with (
            replaced(client, "generate", _or_else(failures, client.generate, _nothing_generated)),
            replaced(client, "update_named_params", _or_else(failures, client.update_named_params, _use_up)),
            replaced(client, "reset_prefix_cache", _or_else(failures, client.reset_prefix_cache, _do_nothing)),
        ):
            yield
    else:
        yield
    message = [_what_to_do(client.base_url, failures[0]) if failures else None]
    broadcast_object_list(message, from_process=0)
    if message[0] is not None:
        vllm_generation.accelerator.wait_for_everyone()  # one that ends first would take the message from the others
        raise RuntimeError(message[0]) from (failures[0] if failures else None)


def _or_else(failures: list[Exception], call: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, until it cannot reach the server; from then on `otherwise`, with the same arguments."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not failures:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if not _is_of_server(error):
                    raise
                failures.append(error)
        return otherwise(*args, **kwargs)

    return guarded


def _is_of_server(error: Exception) -> bool:
    return isinstance(error, OSError) or type(error) is Exception  # of requests; TRL's, for an answer other than 200


def _nothing_generated(*, prompts: list[list[int]], n: int = 1, **others: Any) -> dict[str, Any]:
    nothing: list[list[Any]] = [[] for _ in range(n * len(prompts))]
    return {"prompt_ids": prompts, "completion_ids": nothing, "logprobs": nothing, "logprob_token_ids": nothing}


def _use_up(metadata: Any, named_params: Iterator[Any]) -> None:
    deque(named_params, maxlen=0)  # the other processes take part in gathering each parameter


def _do_nothing() -> None:
    pass


def _what_to_do(url: str, error: Exception) -> str:
    what = "no longer answers" if isinstance(error, OSError) else "could not do what it was asked for"
    return (
        f"The vLLM server at {url} {what} ({type(error).__name__}: {error}). The last whole checkpoint is kept: start "
        "the server again, then give the same command with `--resume_from_checkpoint last`."
    )
