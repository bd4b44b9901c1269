"""Prefix-RFT on TRL: supervised and reinforcement fine-tuning in one stage (arXiv 2507.01679)."""

from typing import TYPE_CHECKING

from .utils.dependency_warnings import silence_dependencies
from .utils.lazy import lazy_front


__version__ = "0.15.0"
__all__ = ["PrefixGRPOConfig", "PrefixGRPOTrainer"]

# As model cards cite it
PAPER = {
    "title": "Blending Supervised and Reinforcement Fine-Tuning with Prefix Sampling",
    "id": "2507.01679",
    "citation": """\
@inproceedings{huang2026prefixrft,
    title        = {{Blending Supervised and Reinforcement Fine-Tuning with Prefix Sampling}},
    author       = {Huang, Zeyu and Cheng, Tianhao and Qiu, Zihan and Wang, Zili and Xu, Yinghui and Ponti, Edoardo M.
                    and Titov, Ivan},
    year         = 2026,
    booktitle    = {International Conference on Machine Learning},
    eprint       = {arXiv:2507.01679},
}""",
}

if TYPE_CHECKING:
    from .config import PrefixGRPOConfig
    from .trainer import PrefixGRPOTrainer

__getattr__, __dir__ = lazy_front(__name__, {"PrefixGRPOConfig": ".config", "PrefixGRPOTrainer": ".trainer"})

silence_dependencies()  # before the imports that they come from
