"""Ends the run on all processes at once when a vLLM server is lost.

The main process sends the requests while the others wait in TRL's broadcast of the answer. If it raised there, they
would wait until their launcher ends them, or for half an hour. So it continues with empty answers, and all raise.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from accelerate.utils import broadcast_object_list

from prefix_rft_trl.utils.errors import WorkError
from prefix_rft_trl.utils.patching import replaced


@contextmanager
def fail_together(vllm_generation: Any) -> Iterator[None]:
    """Within the block a server that cannot be reached gives empty answers; leaving it, every process raises.

    Every process enters and leaves it, around the weight sync too.

    Args:
        vllm_generation ([`~trl.generation.vllm_generation.VLLMGeneration`], *optional*): of the trainer. Nothing
            changes for a colocated engine.

    Raises:
        WorkError: on every process, if the server could not be reached or refused a request.
    """
    if vllm_generation is None or vllm_generation.mode != "server":
        yield
        return
    failures: list[Exception] = []
    if vllm_generation.accelerator.is_main_process:  # the only one with a client
        client = vllm_generation.vllm_client
        with (
            replaced(client, "generate", _guarded(failures, client.generate, _generate_nothing)),
            replaced(client, "update_named_params", _guarded(failures, client.update_named_params, _consume)),
            replaced(client, "reset_prefix_cache", _guarded(failures, client.reset_prefix_cache, _do_nothing)),
        ):
            yield
    else:
        yield
    message = [_advice(client.base_url, failures[0]) if failures else None]
    broadcast_object_list(message, from_process=0)
    if message[0] is not None:
        vllm_generation.accelerator.wait_for_everyone()  # or the first to exit ends the others before they report
        raise WorkError(message[0]) from (failures[0] if failures else None)


def _guarded(failures: list[Exception], call: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """Calls `call` until it cannot reach the server, and `otherwise` from then on."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not failures:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if not _is_server_error(error):
                    raise
                failures.append(error)
        return otherwise(*args, **kwargs)

    return guarded


def _is_server_error(error: Exception) -> bool:
    # `requests` raises an OSError, TRL a bare Exception for a status other than 200
    return isinstance(error, OSError) or type(error) is Exception


def _generate_nothing(*, prompts: list[list[int]], n: int = 1, **others: Any) -> dict[str, Any]:
    nothing: list[list[Any]] = [[] for _ in range(n * len(prompts))]
    return {"prompt_ids": prompts, "completion_ids": nothing, "logprobs": nothing, "logprob_token_ids": nothing}


def _consume(metadata: Any, named_params: Iterator[Any]) -> None:
    deque(named_params, maxlen=0)  # gathering each parameter is a collective call


def _do_nothing() -> None:
    pass


def _advice(url: str, error: Exception) -> str:
    problem = "no longer answers" if isinstance(error, OSError) else "could not process a request"
    return (
        f"The vLLM server at {url} {problem} ({type(error).__name__}: {error}). The last complete checkpoint is "
        "kept: restart the server, then repeat the command with `--resume_from_checkpoint last`."
    )
