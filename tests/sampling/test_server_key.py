"""A vLLM server behind `RequireKey` answers the trainer's client and nobody else."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import requests
from trl.generation import vllm_client

from prefix_rft_trl.sampling.server_key import KEY, RequireKey, key_sent_to_server


SECRET = "key-of-the-job"
SERVER = SimpleNamespace(use_vllm=True, vllm_mode="server")
PATHS = ["/v1/completions", "/update_weights", "/collective_rpc", "/server_info", "/", "/health/../sleep", "//health"]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)


def ask(path: str, *values: str, kind: str = "http") -> str:
    """What a request with these values of `Authorization` gets: `passed`, or the first that is sent."""
    sent = []

    async def app(scope, receive, send):
        sent.append("passed")

    async def send(message):
        sent.append(message.get("status", message.get("code")))

    headers = [(b"authorization", value.encode("latin-1")) for value in values]
    asyncio.run(RequireKey(app)({"type": kind, "path": path, "headers": headers}, None, send))
    return sent[0]


@pytest.mark.parametrize("path", PATHS)
def test_each_path_needs_the_key(path):
    assert ask(path, f"Bearer {SECRET}") == "passed"
    for values in ([], ["Bearer"], ["Bearer wrong"], [SECRET], [f"bearer {SECRET}x"], ["Bearer \xe9"],
                   [f"Bearer {SECRET}", "Bearer wrong"]):  # fmt: skip
        assert ask(path, *values) == 401
    assert ask(path, kind="websocket") == 1008


def test_whether_it_is_ready_and_its_start_need_no_key():
    assert ask("/health") == "passed"
    assert ask("", kind="lifespan") == "passed"


def test_a_server_without_a_key_does_not_start(monkeypatch):
    monkeypatch.delenv(KEY)
    with pytest.raises(ValueError, match=f"variable {KEY}"):
        RequireKey(None)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        is_allowed = self.path == "/health" or self.headers.get("Authorization") == f"Bearer {SECRET}"
        self.send_response(200 if is_allowed else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": "model"}]}).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setattr(vllm_client, "is_vllm_available", lambda: True)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_client_of_a_trainer_sends_the_key_and_no_other_does(url, monkeypatch):
    with key_sent_to_server(SERVER):
        client = vllm_client.VLLMClient(base_url=url)
    assert client.model == "model"
    assert client._get(f"{url}/get_world_size")
    assert requests.get(f"{url}/v1/models").status_code == 401
    for settings in (SimpleNamespace(use_vllm=False), SimpleNamespace(use_vllm=True, vllm_mode="colocate")):
        with key_sent_to_server(settings), pytest.raises(Exception, match="401"):
            vllm_client.VLLMClient(base_url=url)
    monkeypatch.delenv(KEY)
    with key_sent_to_server(SERVER), pytest.raises(Exception, match="401"):
        vllm_client.VLLMClient(base_url=url)
