"""Leave secrets out of what is written down: settings by their names, and texts that look like a token or a password.

Two redacted values are equal if the values are, but for the secrets in them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any


SECRET = "<secret>"

# Before `_key` in the names of columns, entries and the like
_HARMLESS = (
    "adapter|answer|batch|cache|column|completion|config|content|data|dataset|dict|field|first|foreign|gold|group|id|"
    "image|index|input|join|json|label|last|map|message|metric|model|name|order|output|partition|past|primary|prng|"
    "problem|prompt|public|query|question|response|reward|rng|row|score|solution|sort|split|state|target|text"
)
# The last words of a name. `eos_token` and `num_items_per_token` name no secrets, `hub_token` does.
_NAME = re.compile(
    rf"(?:^|_)(?:(?!(?:{_HARMLESS})_)[^_]+_key(?:_id)?(?:_?\d{{1,3}})?|(?:api|access|secret|private|auth)_?keys?|"
    r"passw(?:or)?ds?|pass|passphrases?|pwds?|secrets?|credentials?|auth|authorization|cookies?|(?<!eos_)(?<!bos_)(?<!pad_)(?<!unk_)(?<!sep_)(?<!cls_)(?<!mask_)(?<!stop_)(?<!per_)"
    r"(?<!special_)(?<!image_)(?<!video_)(?<!audio_)(?<!thinking_)(?<!first_)(?<!last_)token|"
    r"(?:access|api|auth|bearer|hub|refresh|secret)_tokens)(?:_?v\d{1,3})?$"
)
_VARIABLE = re.compile(r"(?:KEY|TOKEN|SECRET|PASS|PASSWORD|PWD|CREDENTIALS?|AUTH)S?$")  # of the environment
_TEXT = re.compile(
    r"\b(?:hf_\w{8,}|sk-[\w-]{16,}|(?:ghp|gho|ghu|ghs|ghr)_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|"
    r"xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|(?:gsk|npm|r8|sk_live|rk_live)_\w{16,}|(?:pypi|nvapi|xai)-[\w-]{16,})|"
    r"(?<=hooks\.slack\.com/services/)[\w/]{8,}|(?<=/api/webhooks/)[\w/-]{8,}|"
    r"(?i:(?<=\bbearer )[\w.~+/-]{8,}=*|(?<=\bbasic )[A-Za-z0-9+/]{12,}=*|"
    r"(?<=\bauthorization: token )[\w.~+/-]{4,}=*|(?<=\bapi-key: )[\w.~+/-]{4,}=*)|"
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
)
_WEB_TOKEN = re.compile(r"(?<![\w-])((?:(?!\beyJ)[\w-])*)\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")
_URL_LOGIN = re.compile(r"(?<=://)[^/\s@:]*:[^/\s@]*(?=@)")
_URL_QUERY = re.compile(r"(?i)([?&](?:[\w-]*(?:token|key|secret|password|signature|sig|credential))=)[^&\s#]+")
_ASSIGNED = re.compile(r"""(?<![\w-])([\w-]++)(=["']?)([^\s&"',;<>]+)""")


def is_secret_name(name: str) -> bool:
    """Whether a setting, an argument or a variable of the environment of this name holds a secret."""
    if name.isupper():
        return bool(_VARIABLE.search(name))
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition(".")[2]).replace("-", "_").lower()
    return bool(_NAME.search(words))


def redacted(value: Any, name: str = "", secret: Any = SECRET) -> Any:
    """A value without the secrets in it, whatever it is.

    Args:
        value (`Any`): a setting, or a mapping or a list with more of them; text may be JSON.
        name (`str`): its name.
        secret (`Any`): what stands for a secret.
    """
    is_secret = is_secret_name(name)
    if isinstance(value, Mapping):
        return {key: redacted(inner, name if is_secret else str(key), secret) for key, inner in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(redacted(inner, name, secret) for inner in value)
    if value is None or isinstance(value, bool) or value == "":
        return value
    if is_secret:
        return secret
    return _redacted_text(value) if isinstance(value, str) else value


def _redacted_text(text: str) -> str:
    if text.startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            content = json.loads(text)
            if (found := redacted(content)) != content:
                return json.dumps(found, ensure_ascii=False)
    found = _TEXT.sub(SECRET, _WEB_TOKEN.sub(rf"\1{SECRET}", text))
    found = _URL_QUERY.sub(rf"\1{SECRET}", _URL_LOGIN.sub(SECRET, found))
    found = _ASSIGNED.sub(_redacted_assignment, found)
    return text if found == text else found  # an enumeration stays one


def _redacted_assignment(found: re.Match[str]) -> str:
    name, sign, _ = found.groups()
    return f"{name}{sign}{SECRET}" if is_secret_name(name) else found.group()


def redacted_words(words: Sequence[str]) -> list[str]:
    """The words of a command line without the secrets in them."""
    found, name = [], ""
    for word in words:
        if word.startswith("--"):
            flag, is_assigned, value = word.partition("=")
            name = flag.removeprefix("--")
            found.append(f"{flag}={redacted(value, name)}" if is_assigned else word)
        else:
            found.append(redacted(word, name))
    return found
