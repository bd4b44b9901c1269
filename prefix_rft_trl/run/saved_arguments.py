"""Save the arguments of a training without the secrets in them: `training_args.bin` is pushed to the Hub."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from prefix_rft_trl.utils.patching import replaced
from prefix_rft_trl.utils.redaction import redacted


class SavesNoSecrets(Trainer):
    """Mixin for a [`~transformers.Trainer`]: the arguments that it saves have `None` in place of tokens and keys."""

    def _save(self, *args: Any, **kwargs: Any) -> None:
        with _saved_without_secrets():
            super()._save(*args, **kwargs)

    def _push_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with _saved_without_secrets():
            super()._push_from_checkpoint(*args, **kwargs)


@contextmanager
def _saved_without_secrets() -> Iterator[None]:
    with replaced(torch, "save", partial(_save, torch.save)):
        yield


def _save(save: Any, saved: Any, *args: Any, **kwargs: Any) -> None:
    if isinstance(saved, TrainingArguments):
        saved = copy.copy(saved)
        vars(saved).update({name: redacted(value, name, secret=None) for name, value in vars(saved).items()})
    save(saved, *args, **kwargs)
