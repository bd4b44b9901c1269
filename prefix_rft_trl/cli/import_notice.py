"""Say on the terminal that libraries are being imported, where that takes longer than a second."""

import sys
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import TextIO


LIBRARIES = {"torch", "transformers", "trl", "accelerate", "datasets", "vllm"}
PATIENCE, INTERVAL, LONGEST_WATCH = 1.0, 0.1, 60.0  # seconds


@contextmanager
def import_notice(command: str, stream: TextIO, libraries: Container[str] = LIBRARIES) -> Iterator[None]:
    """Prints a line once, while the first import of these libraries is taking long. A stream to a file gets none."""
    is_over = threading.Event()

    def watch() -> None:
        importing = watched = 0.0
        while watched < LONGEST_WATCH and not is_over.wait(INTERVAL):
            watched += INTERVAL
            importing += INTERVAL * is_importing(libraries)
            if importing >= PATIENCE:
                print(f"prefix-rft {command}: loading PyTorch, transformers and TRL ...", file=stream, flush=True)
                return

    if stream.isatty():
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def is_importing(libraries: Container[str]) -> bool:
    """Whether a module of these libraries is being imported in any thread, by the mark that Python's import leaves."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in libraries]
    specs = (getattr(module, "__dict__", {}).get("__spec__") for module in modules)  # lazy modules stay asleep
    return any(getattr(spec, "_initializing", False) for spec in specs)
