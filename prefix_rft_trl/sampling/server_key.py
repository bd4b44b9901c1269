"""Let a vLLM server answer nobody without a key, and a trainer send it.

    VLLM_API_KEY=... vllm serve MODEL --middleware prefix_rft_trl.sampling.server_key.RequireKey ...

vLLM's own check of the key guards the endpoints that generate, and not those by which TRL replaces the weights.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from prefix_rft_trl.utils.patching import replaced


KEY = "VLLM_API_KEY"  # environment variable of vLLM, on both sides
OPEN = "/health"  # which is asked before there is a client

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RequireKey:
    """
    ASGI middleware: answers 401 to a request without the key, whatever it asks, except whether the server is ready.

    Args:
        app (`Callable`): the application behind it.
    """

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]):
        if not os.environ.get(KEY):
            raise ValueError(f"`RequireKey` needs a key: set the environment variable {KEY}, as for the training.")
        self.app, self.expected = app, f"Bearer {os.environ[KEY]}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == OPEN or self._has_key(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": f"the key of {KEY} is missing or wrong".encode()})

    def _has_key(self, scope: Message) -> bool:
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self.expected)


@contextmanager
def key_sent_to_server(args: Any) -> Iterator[None]:
    """Has a client of a vLLM server that is made in the block send the key, if there is one in the environment."""
    key = os.environ.get(KEY)
    if not (key and getattr(args, "use_vllm", False) and args.vllm_mode == "server"):
        yield
        return
    from trl.generation.vllm_client import VLLMClient

    check_server = VLLMClient.check_server

    def check_with_key(client: Any, *given: Any, **named: Any) -> None:  # the first that a client does
        client.session.headers["Authorization"] = f"Bearer {key}"
        check_server(client, *given, **named)

    with replaced(VLLMClient, "check_server", check_with_key):
        yield
