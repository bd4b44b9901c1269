"""Settings of Prefix-RFT, documented and validated."""

import warnings
from dataclasses import dataclass

from trl import GRPOConfig

from .method.advantages import ESTIMATORS
from .method.schedules import DISTRIBUTIONS, SCHEDULES
from .method.selections import SELECTIONS
from .method.token_weights import PREFIX_LOSSES, PREFIX_WEIGHTS, PrefixTokenRule
from .sampling.sampler_settings import refuse_sampler_settings
from .utils.deepspeed import refuse_old_deepspeed
from .utils.documented import documented
from .utils.loss_kernels import refuse_cpu_without_kernels
from .utils.setting_ranges import GRPO_CHOICES, check_settings


PREFIX_CHOICES = {
    "prefix_ratio_schedule": tuple(SCHEDULES),
    "prefix_advantage": tuple(ESTIMATORS),
    "prefix_selection": tuple(SELECTIONS),
    "prefix_loss_type": tuple(PREFIX_LOSSES),
    "prefix_ratio_distribution": tuple(DISTRIBUTIONS),
    "prefix_prompts": ("all", "failed"),
}


@documented
@dataclass
class PrefixGRPOConfig(GRPOConfig):
    r"""
    Configuration class for the [`PrefixGRPOTrainer`].

    It has all settings of [`~trl.GRPOConfig`] and those below. The defaults are the values of the paper (Huang et al.,
    2025, https://huggingface.co/papers/2507.01679). The paper's other values are TRL's defaults as well:
    `learning_rate` 1e-6, `num_generations` 8, `temperature` 1, `beta` 0, `epsilon` 0.2. The paper trains for 500
    steps of 128 prompts; the batch sizes for that depend on the machine and are left to recipes.

    Parameters:
        > Parameters that control the hybrid rollouts

        num_prefix_generations (`int`, *optional*, defaults to `1`):
            Number of hybrid rollouts among the `num_generations` of a prompt, from 0 to all of them. With 0 the
            trainer is [`~trl.GRPOTrainer`], to rounding. Paper: 1 of 8.
        demonstration_column (`str`, *optional*, defaults to `"completion"`):
            Dataset column with the demonstrations: text, messages, or a list of either, of which one is drawn for each
            hybrid rollout. Rows without a demonstration train as plain GRPO.
        prefix_shared_in_group (`bool`, *optional*, defaults to `False`):
            Whether all hybrid rollouts of a prompt start from the same prefix. Source: UFT, and an ablation of the
            paper.
        prefix_prompts (`str`, *optional*, defaults to `"all"`):
            Prompts that get hybrid rollouts: `"all"` (paper), or `"failed"`, those that were tried before and that no
            on-policy rollout has solved so far.
        prefix_success_reward (`float`, *optional*, defaults to `1.0`):
            Minimum reward of a rollout that counts as a success, for `prefix_prompts="failed"` and
            `prefix_ratio_schedule="adaptive"`.
        answer_column (`str`, *optional*, defaults to `"solution"`):
            Dataset column with the correct answer, for the metrics `prefix/holds_answer` and `prefix/states_answer`
            and for `prefix_exclude_answer`. On the command line, rewards get it as `solution` where the dataset has no
            column of that name. The metrics do without it; for `prefix_exclude_answer` a missing column is an error,
            and `None` says that demonstrations state their answers in a box or after a marker.

        > Parameters that control the length of the prefix

        prefix_ratio_schedule (`str`, *optional*, defaults to `"cosine"`):
            How the lower bound of the prefix ratio decays from `prefix_ratio_high` to `prefix_ratio_low`: `"cosine"`
            (paper), `"linear"`, or `"constant"`, which stays at `prefix_ratio_low` from the start. `"adaptive"` draws
            the ratio from U[low, high * (1 - s)], where s is the fraction of on-policy rollouts that solved the
            problem on its last attempt: no prefix if all did. `"whole"` takes whole demonstrations with the end of
            sequence as hybrid rollouts, without sampling (LUFFY); those above `max_completion_length` are left out.
        prefix_ratio_distribution (`str`, *optional*, defaults to `"uniform"`):
            Distribution of the ratio: `"uniform"` between the two bounds of the schedule (paper), or `"binomial"`
            (UFT): the demonstration is cut into at most 5 slices of sentences, and the first k ~ Binomial(5, p) are
            the prefix, where p is the lower bound of the schedule. After the decay there is no prefix.
        prefix_ratio_high (`float`, *optional*, defaults to `0.95`):
            Upper bound of the prefix ratio, the fraction of a demonstration used as a prefix. Paper: 0.95.
        prefix_ratio_low (`float`, *optional*, defaults to `0.05`):
            Final lower bound of the prefix ratio. Paper: 0.05.
        prefix_ratio_decay_steps (`int`, *optional*):
            Optimizer steps after which the lower bound stays at `prefix_ratio_low`. Defaults to the length of the run.
            Paper: 500 of 500 steps.
        prefix_exclude_answer (`bool`, *optional*, defaults to `False`):
            Whether to end each prefix before the demonstration's last statement of its answer, so that the policy has
            to find it (not in the paper). The statement is the last `\boxed{}`, else the last marker such as `####` or
            "answer is", else the last occurrence of the answer in `answer_column` as a separate word. The ratio still
            refers to the whole demonstration; only a prefix that would reach into the statement is shortened. Where
            nothing precedes the statement, the rollout gets no prefix.

        > Parameters that control the training of prefix tokens

        prefix_advantage (`str`, *optional*, defaults to `"group"`):
            Advantage estimator for groups with hybrid rollouts: `"group"` (paper) is the reward minus the mean of all
            rollouts; `"on_policy"` subtracts the mean of the rollouts without a prefix; `"dr_grpo_prefix"` and
            `"dr_grpo_prefix_v2"` are the estimators of the authors' code, which treat prefix and continuation
            separately (`prefix_rft_trl/method/advantages.py`; the second never reinforces a demonstration that
            succeeds).
        prefix_selection (`str`, *optional*, defaults to `"top_entropy"`):
            Prefix tokens that are trained: those on which the policy has the highest entropy, in a forward batch over
            all processes (`"top_entropy"`, paper) or within each hybrid rollout (`"top_entropy_per_rollout"`).
            `"bottom_entropy"`, `"random"` and `"none"`, which leaves prefixes as context only, are the paper's
            ablations.
        prefix_top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Fraction of the prefix tokens that is trained; 1.0 trains all of them. Paper: 0.2.
        prefix_loss_type (`str`, *optional*, defaults to `"ppo"`):
            Weight of the prefix tokens that are trained: `"ppo"` (paper, Eq. 3) leaves them to `loss_type`, clip
            included, like sampled tokens; `"ppo_unclipped"` (authors' code) is advantage times ratio; `"shaped"` is
            LUFFY's A * pi * gamma / (pi + gamma)^2. `"cross_entropy"` ignores the advantage: `prefix_loss_coef` times
            the tokens' cross-entropy, summed and divided by the number of prefix tokens, is added to the loss (UFT, RL
            with SFT loss).
        prefix_shaping_gamma (`float`, *optional*, defaults to `0.1`):
            Gamma of `"shaped"`: the probability at which its weight is largest. LUFFY: 0.1.
        prefix_loss_coef (`float`, *optional*, defaults to `0.001`):
            Coefficient of `"cross_entropy"`. UFT: 0.001.

        > Parameters that control what a training step computes

        trim_padding (`bool`, *optional*, defaults to `True`):
            Whether each forward pass is as wide as its own rows need, prompts and completions, instead of as wide as
            the longest of the generation batch. Models whose results depend on that width are passed as in TRL.
        group_rollouts_by_length (`bool`, *optional*, defaults to `True`):
            Whether the rollouts of an optimizer step are divided among its micro-batches by length, and in a run of
            one process a micro-batch is passed in two parts where that saves padding. Not with
            `loss_type="bnpo"`, an entropy bonus, `top_entropy_quantile`, or a router loss: their values depend on
            which rollouts share a micro-batch. So does the selection of prefix tokens by `"top_entropy"`,
            `"bottom_entropy"` and `"random"`.
        skip_zero_weight_rollouts (`bool`, *optional*, defaults to `True`):
            Whether rollouts that carry no gradient, such as those of a group with equal rewards, are left out of the
            passes with gradient. Not with `beta` or one of the settings above, which need them, nor in a subclass with
            a loss of its own, which may train any of them.
        padding_free (`bool`, *optional*, defaults to `False`):
            Whether the rollouts of a micro-batch go through the model as one row without padding, as in
            [`~trl.SFTConfig`]. For flash attention, whose kernels keep them apart; other implementations compute the
            square of all tokens of a micro-batch. For text and for models of attention layers only.

        > Parameters that control logging

        log_all (`bool`, *optional*, defaults to `False`):
            Whether to print all metrics of each log, as TRL does, and not only those that matter most. Trackers and
            `trainer_state.json` always get all.

        > Parameters of TRL with another default

        loss_type (`str`, *optional*, defaults to `"dr_grpo"`):
            Loss of sampled tokens, and of prefix tokens with `prefix_loss_type="ppo"`; all of TRL's loss types work.
            Paper: Dr. GRPO. TRL's default is `"dapo"`.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Scaling of the rewards. Paper: none, as in Dr. GRPO. TRL's default is `"group"`.
        max_completion_length (`int`, *optional*, defaults to `8192`):
            Maximum length of a completion in tokens, prefix and continuation together. Paper: 8192. TRL's default is
            512.
    """

    num_prefix_generations: int = 1
    demonstration_column: str = "completion"
    prefix_shared_in_group: bool = False
    prefix_prompts: str = "all"
    prefix_success_reward: float = 1.0
    answer_column: str | None = "solution"

    prefix_ratio_schedule: str = "cosine"
    prefix_ratio_distribution: str = "uniform"
    prefix_ratio_high: float = 0.95
    prefix_ratio_low: float = 0.05
    prefix_ratio_decay_steps: int | None = None
    prefix_exclude_answer: bool = False

    prefix_advantage: str = "group"
    prefix_selection: str = "top_entropy"
    prefix_top_entropy_quantile: float = 0.2
    prefix_loss_type: str = "ppo"
    prefix_shaping_gamma: float = 0.1
    prefix_loss_coef: float = 0.001

    trim_padding: bool = True
    group_rollouts_by_length: bool = True
    skip_zero_weight_rollouts: bool = True
    padding_free: bool = False

    log_all: bool = False

    loss_type: str = "dr_grpo"
    scale_rewards: str = "none"
    max_completion_length: int | None = 8192

    def __post_init__(self):
        if self.prefix_ratio_schedule == "uniform":
            warnings.warn("`prefix_ratio_schedule='uniform'` is now called 'constant'.", FutureWarning, stacklevel=3)
        self.check()
        super().__post_init__()
        refuse_old_deepspeed(self)
        refuse_cpu_without_kernels(self)

    def check(self) -> None:
        """Check types, values and their combinations; takes neither a device nor that the config is complete.

        Raises:
            ValueError: naming the first setting that cannot be used, what was found, and the fix.
        """
        if self.prefix_ratio_schedule == "uniform":  # its old name
            self.prefix_ratio_schedule = "constant"
        check_settings(PrefixGRPOConfig, vars(self), GRPO_CHOICES | PREFIX_CHOICES)
        self._check_prefix_settings()
        if self.padding_free and str(self.pad_to_multiple_of).lower() not in ("auto", "none", "null"):
            raise ValueError(
                "`padding_free=True` leaves out the padding that `pad_to_multiple_of` "
                f"({self.pad_to_multiple_of}) asks for. Remove one of them."
            )
        if self.num_prefix_generations:
            self._check_combinations()

    @property
    def needs_success_history(self) -> bool:
        """Whether the prefix of a problem depends on the policy's success on it so far."""
        return self.prefix_ratio_schedule == "adaptive" or self.prefix_prompts == "failed"

    @property
    def gives_whole_demonstrations(self) -> bool:
        return self.prefix_ratio_schedule == "whole"

    @property
    def prefix_token_rule(self) -> PrefixTokenRule:
        return PrefixTokenRule(
            self.prefix_selection,
            self.prefix_top_entropy_quantile,
            self.prefix_loss_type,
            self.prefix_loss_coef,
            self.prefix_shaping_gamma,
        )

    def _check_prefix_settings(self) -> None:
        if self.prefix_top_entropy_quantile == 0:
            raise ValueError("`prefix_top_entropy_quantile=0` trains no prefix token: set `prefix_selection='none'`.")
        if self.prefix_ratio_low > self.prefix_ratio_high:
            raise ValueError(
                f"`prefix_ratio_low` ({self.prefix_ratio_low}) is above `prefix_ratio_high` "
                f"({self.prefix_ratio_high}). Swap them."
            )
        if self.prefix_ratio_high == 0:
            raise ValueError("`prefix_ratio_high=0` gives no prefix to any rollout: set `num_prefix_generations=0`.")
        if not 0 <= self.num_prefix_generations <= self.num_generations:
            raise ValueError(
                f"`num_prefix_generations` ({self.num_prefix_generations}) must be from 0 to "
                f"`num_generations` ({self.num_generations})."
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
        refuse_sampler_settings(self)
        is_scaled = self.scale_rewards not in ("none", False)
        if self.prefix_advantage != "group" and (
            is_scaled or self.multi_objective_aggregation != "sum_then_normalize"
        ):
            raise ValueError(
                f"`prefix_advantage='{self.prefix_advantage}'` is reward minus a baseline, without any scaling: it "
                "needs `scale_rewards='none'` and `multi_objective_aggregation='sum_then_normalize'`, found "
                f"{self.scale_rewards!r} and {self.multi_objective_aggregation!r}."
            )
        if self.prefix_ratio_distribution == "binomial" and self.prefix_ratio_schedule in ("adaptive", "whole"):
            raise ValueError(
                "`prefix_ratio_distribution='binomial'` draws slices with the lower bound of a schedule as "
                f"probability, which `prefix_ratio_schedule='{self.prefix_ratio_schedule}'` does not have. Set it to "
                "'cosine', 'linear' or 'constant'."
            )
        if self.gives_whole_demonstrations and self.num_prefix_generations == self.num_generations:
            raise ValueError(
                "`prefix_ratio_schedule='whole'` with `num_prefix_generations` equal to `num_generations` "
                f"({self.num_generations}) samples nothing. Lower `num_prefix_generations`, or use TRL's `SFTTrainer`."
            )
        if self.gives_whole_demonstrations and self.prefix_exclude_answer:
            raise ValueError(
                "`prefix_ratio_schedule='whole'` gives demonstrations up to their end, answer included, so "
                "`prefix_exclude_answer` cannot exclude it. Remove that setting, or set `prefix_ratio_schedule` "
                "to 'cosine', 'linear', 'constant' or 'adaptive'."
            )
        if PREFIX_WEIGHTS.get(self.prefix_loss_type) is not None and (
            self.loss_type in ("cispo", "vespo") or self.importance_sampling_level != "token"
        ):
            raise ValueError(
                f"`prefix_loss_type='{self.prefix_loss_type}'` gives each prefix token its own weight, but "
                f"`loss_type='{self.loss_type}'` with `importance_sampling_level='{self.importance_sampling_level}'` "
                "multiplies it by another one. Set `prefix_loss_type='ppo'`, which leaves prefix tokens to the loss, "
                "or a token-level loss, such as `loss_type='dr_grpo'` with "
                "`importance_sampling_level='token'`."
            )
