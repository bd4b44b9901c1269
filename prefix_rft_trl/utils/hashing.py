"""Hash texts alike in every process and every run, unlike Python's own `hash`."""

from hashlib import blake2b


def stable_hash(text: str, size: int = 8) -> int:
    """A number of `size` bytes, without a sign."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest(), "big")
