"""A tiny task with its base model and demonstrations, all inside the package.

>>> from prefix_rft_trl import lab
>>> train, held_out = lab.load_dataset("train"), lab.load_dataset("test")
>>> lab.base_model_path()  # a folder that `from_pretrained` takes
"""

from typing import TYPE_CHECKING

from prefix_rft_trl.utils.lazy import lazy_front


_OF_TASK = [
    "base_model_path", "exact_answer_reward", "load_dataset", "shown_work_reward", "step_by_step_reward",
    "worked_answer_reward",
]  # fmt: skip
__all__ = [
    "base_model_path", "exact_answer_reward", "load_dataset", "prepare_notebook", "shown_work_reward",
    "step_by_step_reward", "worked_answer_reward",
]  # fmt: skip

if TYPE_CHECKING:
    from .notebook import prepare_notebook
    from .task import (
        base_model_path,
        exact_answer_reward,
        load_dataset,
        shown_work_reward,
        step_by_step_reward,
        worked_answer_reward,
    )

__getattr__, __dir__ = lazy_front(__name__, {**dict.fromkeys(_OF_TASK, ".task"), "prepare_notebook": ".notebook"})
