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
    "base_model_path", "calculate", "exact_answer_reward", "final_number_reward", "load_dataset", "prepare_notebook",
    "recorded_results", "shown_work_reward", "step_by_step_reward", "worked_answer_reward",
]  # fmt: skip

if TYPE_CHECKING:
    from .agent.calculator import calculate
    from .notebook import prepare_notebook
    from .real.recorded import recorded_results
    from .real.sums import final_number_reward
    from .task import (
        base_model_path,
        exact_answer_reward,
        load_dataset,
        shown_work_reward,
        step_by_step_reward,
        worked_answer_reward,
    )

_OF_OTHERS = {
    "calculate": ".agent.calculator",
    "final_number_reward": ".real.sums",
    "prepare_notebook": ".notebook",
    "recorded_results": ".real.recorded",
}

__getattr__, __dir__ = lazy_front(__name__, dict.fromkeys(_OF_TASK, ".task") | _OF_OTHERS)
