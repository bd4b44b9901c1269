"""Every setting of Prefix-RFT, documented and checked."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from trl import GRPOConfig

from .method.advantages import ESTIMATORS
from .method.schedules import DISTRIBUTIONS, SCHEDULES
from .method.token_weights import PREFIX_LOSSES, PREFIX_WEIGHTS, SELECTIONS
from .utils.errors import refuse_old_deepspeed


@dataclass
class PrefixGRPOConfig(GRPOConfig):
    r"""
    Configuration class for the [`PrefixGRPOTrainer`].

    It has all settings of [`~trl.GRPOConfig`] and those below. The defaults are the values of the paper (Huang et al.,
    2025, https://huggingface.co/papers/2507.01679). They depart from TRL's in `loss_type` (`"dr_grpo"`, not
    `"dapo"`), `scale_rewards` (`"none"`, not `"group"`) and `max_completion_length` (8192, not 512). The other values
    of the paper are TRL's defaults as well: `learning_rate` 1e-6, `num_generations` 8, `temperature` 1, `beta` 0,
    `epsilon` 0.2. The paper takes 128 prompts a step and 500 steps; how a machine
    gets there is left to a recipe.

    Parameters:
        > Parameters that control the hybrid rollouts

        num_prefix_generations (`int`, *optional*, defaults to `1`):
            Number of hybrid rollouts among the `num_generations` of a prompt, from 0 to all of them. With 0 the
            trainer is [`~trl.GRPOTrainer`], bit for bit.
        demonstration_column (`str`, *optional*, defaults to `"completion"`):
            Column of the dataset that holds the demonstrations: text, messages, or a list of either, of which one is
            drawn for each hybrid rollout. Rows without a demonstration train as plain GRPO.
        prefix_shared_in_group (`bool`, *optional*, defaults to `False`):
            Whether all hybrid rollouts of a prompt start from the same prefix (UFT, and an ablation of the paper).
        prefix_prompts (`str`, *optional*, defaults to `"all"`):
            Prompts that get hybrid rollouts: `"all"` (paper), or `"failed"`, those that were tried before and that no
            on-policy rollout has solved so far.
        prefix_success_reward (`float`, *optional*, defaults to `1.0`):
            Reward from which a rollout has solved its problem, for `prefix_prompts="failed"` and
            `prefix_ratio_schedule="adaptive"`.
        answer_column (`str`, *optional*, defaults to `"solution"`):
            Column with the right answer, for the metrics `prefix/holds_answer` and `prefix/states_answer` and for
            `prefix_exclude_answer`. Ignored if the dataset lacks it.

        > Parameters that control the length of the prefix

        prefix_ratio_schedule (`str`, *optional*, defaults to `"cosine"`):
            Law by which the lower end of the prefix ratio goes from `prefix_ratio_high` to `prefix_ratio_low`:
            `"cosine"` (paper), `"linear"`, or `"uniform"`, which is at `prefix_ratio_low` from the start. With
            `"adaptive"` the ratio is drawn from U[low, high * (1 - s)], s the share of on-policy rollouts that solved
            the problem when it was last tried: no prefix where all did. With `"whole"` hybrid rollouts are whole
            demonstrations up to the end of sequence, and nothing of them is sampled (LUFFY); one that does not fit
            `max_completion_length` is left out.
        prefix_ratio_distribution (`str`, *optional*, defaults to `"uniform"`):
            What the ratio is drawn from: `"uniform"`, between the two ends of the schedule (paper), or `"binomial"`,
            UFT's: the demonstration is cut into at most 5 slices of sentences, of which k ~ Binomial(5, p) are given,
            p being the lower end of the schedule, and none after the decay.
        prefix_ratio_high (`float`, *optional*, defaults to `0.95`):
            Upper end of the share of a demonstration that is given.
        prefix_ratio_low (`float`, *optional*, defaults to `0.05`):
            Where the lower end of that share arrives.
        prefix_ratio_decay_steps (`int`, *optional*):
            Optimizer steps after which the lower end stays at `prefix_ratio_low`. Defaults to the length of the run
            (the paper: 500 of 500).
        prefix_exclude_answer (`bool`, *optional*, defaults to `False`):
            Whether a prefix ends before the demonstration's last statement of the answer, after which there would be
            nothing left to find (the paper does not): the last `\boxed{}`, or else the last marker such as `####` or
            "answer is", or where there is neither, the last place where the right answer of `answer_column` stands as
            a word of its own. The ratio is of the whole demonstration all the same; only a prefix that would reach
            into the statement is shortened. Where nothing comes before the statement, the rollout is on-policy.

        > Parameters that control the training of prefix tokens

        prefix_advantage (`str`, *optional*, defaults to `"group"`):
            Advantage of the rollouts of a group with hybrid ones: `"group"`, the paper's, is the reward minus the mean
            of all rollouts; `"on_policy"` subtracts the mean of the rollouts without a prefix; `"dr_grpo_prefix"` and
            `"dr_grpo_prefix_v2"` are the estimators of the authors' code, which treat prefix and continuation apart
            (see `prefix_rft_trl/method/advantages.py`; the second never reinforces a demonstration that succeeds).
        prefix_selection (`str`, *optional*, defaults to `"top_entropy"`):
            Which prefix tokens are trained: `"top_entropy"` ranks those of all rows and ranks of a forward batch by
            the policy's entropy, `"top_entropy_per_rollout"` ranks inside each hybrid rollout; `"bottom_entropy"`,
            `"random"` and `"none"`, which leaves prefixes as context only, are the paper's ablations.
        prefix_top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of prefix tokens that is trained. 1.0 trains all of them.
        prefix_loss_type (`str`, *optional*, defaults to `"ppo"`):
            Weight of the prefix tokens that are trained: `"ppo"` leaves them to `loss_type`, clip included, like
            sampled tokens (paper, Eq. 3); `"ppo_unclipped"` is advantage times ratio; `"shaped"` is LUFFY's A * pi *
            gamma / (pi + gamma)^2. With `"cross_entropy"` the advantage has no say: `prefix_loss_coef` times their
            cross-entropy, summed and divided by the number of prefix tokens, is added to the loss (UFT, RL with SFT
            loss).
        prefix_shaping_gamma (`float`, *optional*, defaults to `0.1`):
            The gamma of `"shaped"`: the probability at which its weight is largest.
        prefix_loss_coef (`float`, *optional*, defaults to `0.001`):
            The coefficient of `"cross_entropy"`; the default is UFT's.
    """

    loss_type: str = field(
        default="dr_grpo",
        metadata={"help": "Loss formulation, see `GRPOConfig`. The paper trains with Dr. GRPO."},
    )
    scale_rewards: str = field(
        default="none",
        metadata={"help": "Scaling of the rewards, see `GRPOConfig`. Dr. GRPO does not scale."},
    )
    max_completion_length: int | None = field(
        default=8192,
        metadata={"help": "Maximum length of a completion in tokens, prefix and continuation together."},
    )

    num_prefix_generations: int = field(
        default=1,
        metadata={"help": "Hybrid rollouts among the `num_generations` of a prompt. 0 is plain GRPO."},
    )
    demonstration_column: str = field(
        default="completion",
        metadata={"help": "Column that holds the demonstrations: text, messages, or a list of either."},
    )
    prefix_shared_in_group: bool = field(
        default=False,
        metadata={"help": "Whether all hybrid rollouts of a prompt start from the same prefix."},
    )
    prefix_prompts: str = field(
        default="all",
        metadata={"help": "Prompts that get hybrid rollouts: `all` (paper), or those that `failed` so far."},
    )
    prefix_success_reward: float = field(
        default=1.0,
        metadata={"help": "Reward from which a rollout has solved its problem, for `failed` and `adaptive`."},
    )
    answer_column: str | None = field(
        default="solution",
        metadata={"help": "Column with the right answer, for two metrics and `prefix_exclude_answer`."},
    )
    prefix_ratio_schedule: str = field(
        default="cosine",
        metadata={
            "help": "Law of the prefix ratio's lower end: `cosine` (paper), `linear` or `uniform`; `adaptive` follows "
            "each problem's success, `whole` gives whole demonstrations."
        },
    )
    prefix_ratio_distribution: str = field(
        default="uniform",
        metadata={"help": "What the ratio is drawn from: `uniform` (paper), or `binomial` slices of sentences (UFT)."},
    )
    prefix_ratio_high: float = field(
        default=0.95,
        metadata={"help": "Upper end of the share of a demonstration that is given."},
    )
    prefix_ratio_low: float = field(
        default=0.05,
        metadata={"help": "Where the lower end of that share arrives."},
    )
    prefix_ratio_decay_steps: int | None = field(
        default=None,
        metadata={"help": "Steps after which the lower end has arrived. Defaults to the length of the run."},
    )
    prefix_exclude_answer: bool = field(
        default=False,
        metadata={"help": "Whether a prefix ends before the demonstration's last statement of the answer."},
    )
    prefix_advantage: str = field(
        default="group",
        metadata={"help": "Advantage: `group` (paper), `on_policy`, `dr_grpo_prefix` or `dr_grpo_prefix_v2`."},
    )
    prefix_selection: str = field(
        default="top_entropy",
        metadata={
            "help": "Prefix tokens that are trained: `top_entropy` (paper), `top_entropy_per_rollout`, "
            "`bottom_entropy`, `random` or `none`."
        },
    )
    prefix_top_entropy_quantile: float = field(
        default=0.2,
        metadata={"help": "Share of prefix tokens that is trained. 1.0 trains all of them."},
    )
    prefix_loss_type: str = field(
        default="ppo",
        metadata={
            "help": "Weight of the prefix tokens that are trained: `ppo` (paper), `ppo_unclipped`, `shaped` (LUFFY) "
            "or `cross_entropy` (UFT, SFT loss)."
        },
    )
    prefix_shaping_gamma: float = field(
        default=0.1,
        metadata={"help": "Gamma of `shaped`: the probability at which its weight is largest."},
    )
    prefix_loss_coef: float = field(
        default=0.001,
        metadata={"help": "Coefficient of `cross_entropy`."},
    )

    def __post_init__(self):
        super().__post_init__()
        refuse_old_deepspeed(self)
        self._check_prefix_settings()
        if self.num_prefix_generations:
            self._check_combinations()

    @property
    def follows_problems(self) -> bool:
        """Whether what a problem is given depends on how the policy has done on it so far."""
        return self.prefix_ratio_schedule == "adaptive" or self.prefix_prompts == "failed"

    @property
    def gives_whole_demonstrations(self) -> bool:
        return self.prefix_ratio_schedule == "whole"

    def _check_prefix_settings(self) -> None:
        _check_known("prefix_ratio_schedule", self.prefix_ratio_schedule, SCHEDULES)
        _check_known("prefix_advantage", self.prefix_advantage, ESTIMATORS)
        _check_known("prefix_selection", self.prefix_selection, SELECTIONS)
        _check_known("prefix_loss_type", self.prefix_loss_type, PREFIX_LOSSES)
        _check_known("prefix_ratio_distribution", self.prefix_ratio_distribution, DISTRIBUTIONS)
        _check_known("prefix_prompts", self.prefix_prompts, ("all", "failed"))
        for name in ("prefix_ratio_low", "prefix_ratio_high", "prefix_top_entropy_quantile"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` is a share from 0 to 1, found {getattr(self, name)}.")
        if self.prefix_top_entropy_quantile == 0:
            raise ValueError("`prefix_top_entropy_quantile=0` trains no prefix token: set `prefix_selection='none'`.")
        if not self.prefix_shaping_gamma > 0:
            raise ValueError(f"`prefix_shaping_gamma` is above 0, found {self.prefix_shaping_gamma}. LUFFY's is 0.1.")
        if not self.prefix_loss_coef > 0:
            raise ValueError(
                f"`prefix_loss_coef` is above 0, found {self.prefix_loss_coef}. For prefixes that are not trained set "
                "`prefix_selection='none'`."
            )
        if math.isnan(self.prefix_success_reward):
            raise ValueError(
                "`prefix_success_reward` is a number that rewards can reach, found nan. Set it, say, to 1."
            )
        if self.prefix_ratio_low > self.prefix_ratio_high:
            raise ValueError(
                f"`prefix_ratio_low` ({self.prefix_ratio_low}) is above `prefix_ratio_high` "
                f"({self.prefix_ratio_high}). Swap them."
            )
        if self.prefix_ratio_high == 0:
            raise ValueError("`prefix_ratio_high=0` gives no prefix to any rollout: set `num_prefix_generations=0`.")
        if self.prefix_ratio_decay_steps is not None and self.prefix_ratio_decay_steps < 1:
            raise ValueError(
                f"`prefix_ratio_decay_steps` is at least 1, found {self.prefix_ratio_decay_steps}. For no decay set "
                "`prefix_ratio_schedule='uniform'`."
            )
        if not 0 <= self.num_prefix_generations <= self.num_generations:
            raise ValueError(
                f"`num_prefix_generations` ({self.num_prefix_generations}) goes from 0 to `num_generations` "
                f"({self.num_generations})."
            )

    def _check_combinations(self) -> None:
        if self.prefix_advantage == "dr_grpo_prefix_v2" and self.num_prefix_generations == self.num_generations:
            raise ValueError(
                "`prefix_advantage='dr_grpo_prefix_v2'` learns nothing when all rollouts of a group are hybrid: its "
                f"advantages are all 0. Set `num_prefix_generations` ({self.num_prefix_generations}) below "
                f"`num_generations` ({self.num_generations}), or another `prefix_advantage`."
            )
        if self.max_completion_length is None or self.max_completion_length < 2:
            raise ValueError(
                f"`max_completion_length` ({self.max_completion_length}) fits no prefix: it takes at least 2 tokens, "
                "one of the demonstration and one that is sampled. Raise it, or set `num_prefix_generations=0`."
            )
        if "max_new_tokens" in (self.generation_kwargs or {}):
            raise ValueError(
                f"`generation_kwargs` has `max_new_tokens` ({self.generation_kwargs['max_new_tokens']}), but prefix "
                "and continuation share one budget: set `max_completion_length` instead."
            )
        if self.prefix_advantage != "group" and (
            self.scale_rewards != "none" or self.multi_objective_aggregation != "sum_then_normalize"
        ):
            raise ValueError(
                f"`prefix_advantage='{self.prefix_advantage}'` is reward minus a baseline, without any scaling: it "
                "needs `scale_rewards='none'` and `multi_objective_aggregation='sum_then_normalize'`, found "
                f"{self.scale_rewards!r} and {self.multi_objective_aggregation!r}."
            )
        if self.prefix_ratio_distribution == "binomial" and self.prefix_ratio_schedule in ("adaptive", "whole"):
            raise ValueError(
                "`prefix_ratio_distribution='binomial'` draws slices with the probability at the lower end of a "
                f"schedule, which `prefix_ratio_schedule='{self.prefix_ratio_schedule}'` does not have. Set it to "
                "'cosine', 'linear' or 'uniform'."
            )
        if self.gives_whole_demonstrations and self.num_prefix_generations == self.num_generations:
            raise ValueError(
                "`prefix_ratio_schedule='whole'` with `num_prefix_generations` equal to `num_generations` "
                f"({self.num_generations}) samples nothing. Lower the first, or take TRL's `SFTTrainer`."
            )
        if self.gives_whole_demonstrations and self.prefix_exclude_answer:
            raise ValueError(
                "`prefix_ratio_schedule='whole'` gives demonstrations up to their end, and what is whole holds its "
                "answer: `prefix_exclude_answer` cannot take it out. Leave that out, or set `prefix_ratio_schedule` "
                "to 'cosine', 'linear', 'uniform' or 'adaptive'."
            )
        if PREFIX_WEIGHTS.get(self.prefix_loss_type) is not None and (
            self.loss_type in ("cispo", "vespo") or self.importance_sampling_level != "token"
        ):
            raise ValueError(
                f"`prefix_loss_type='{self.prefix_loss_type}'` gives each prefix token its own weight, but "
                f"`loss_type='{self.loss_type}'` with `importance_sampling_level='{self.importance_sampling_level}'` "
                "multiplies it by another one. Set `prefix_loss_type='ppo'`, which leaves prefix tokens to the loss, "
                "or a loss that weighs token by token, such as `loss_type='dr_grpo'` with "
                "`importance_sampling_level='token'`."
            )


def _check_known(setting: str, found: str, known: Iterable[str]) -> None:
    if found not in known:
        raise ValueError(f"Unknown `{setting}`: {found!r}. Known: {', '.join(known)}.")
