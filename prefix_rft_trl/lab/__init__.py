"""The embedded default: a tiny task, its tiny base model and its demonstrations.

>>> from prefix_rft_trl import lab
>>> train, held_out = lab.load_dataset("train"), lab.load_dataset("test")
>>> lab.base_model_path()  # a folder that `from_pretrained` takes
"""

from .task import base_model_path, exact_answer_reward, load_dataset, step_by_step_reward, worked_answer_reward


__all__ = ["base_model_path", "exact_answer_reward", "load_dataset", "step_by_step_reward", "worked_answer_reward"]
