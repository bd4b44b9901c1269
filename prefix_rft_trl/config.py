"""Settings of Prefix-RFT, documented and validated."""

import warnings
from dataclasses import dataclass

from trl import GRPOConfig

from .method.advantages import ESTIMATORS
from .method.coefficients import COEFFICIENT_SCHEDULES, Coefficient
from .method.normalizations import NORMALIZATIONS
from .method.schedules import DISTRIBUTIONS, SCHEDULES
from .method.selections import SELECTIONS
from .method.token_laws import TOKEN_LAWS
from .method.token_weights import PrefixTokenRule
from .setting_checks.combinations import check_combinations
from .utils.deepspeed import refuse_old_deepspeed
from .utils.documented import documented
from .utils.loss_kernels import refuse_cpu_without_kernels
from .utils.setting_ranges import GRPO_CHOICES, check_settings


PREFIX_CHOICES = {
    "prefix_ratio_schedule": tuple(SCHEDULES),
    "prefix_advantage": tuple(ESTIMATORS),
    "prefix_selection": tuple(SELECTIONS),
    "prefix_loss_type": tuple(TOKEN_LAWS),
    "prefix_loss_normalization": NORMALIZATIONS,
    "prefix_loss_coef_schedule": tuple(COEFFICIENT_SCHEDULES),
    "prefix_ratio_distribution": tuple(DISTRIBUTIONS),
    "prefix_prompts": ("all", "failed"),
    "prefix_placement": ("completion", "prompt"),
    "prefix_unit": ("token", "turn"),
    "prefix_tool_results": ("real", "demonstration", "on_policy"),
    "demonstration_source": ("dataset", "own"),
    "prefix_stage_groups": ("failed", "equal"),
    "prefix_stage_replaces": ("group", "rollout", "none"),
    "prefix_stage_prompts": ("same", "other"),
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
        prefix_prompt_share (`float`, *optional*, defaults to `1.0`):
            Share of the prompts that get demonstrations, in stages too, evenly spread over the groups that are
            sampled; the others are plain. POPE, ExGRPO: 0.5.
        prefix_success_reward (`float`, *optional*, defaults to `1.0`):
            Minimum reward of a rollout that counts as a success, for `prefix_prompts="failed"`,
            `prefix_ratio_schedule="adaptive"`, `prefix_gate`, stages and own successes.
        answer_column (`str`, *optional*, defaults to `"solution"`):
            Dataset column with the correct answer, for the metrics `prefix/holds_answer` and `prefix/states_answer`
            and for `prefix_exclude_answer`. On the command line, rewards get it as `solution` where the dataset has no
            column of that name. The metrics do without it; for `prefix_exclude_answer` a missing column is an error,
            and `None` says that demonstrations state their answers in a box or after a marker.

        > Parameters that control where demonstrations come from

        demonstration_source (`str`, *optional*, defaults to `"dataset"`):
            Where the demonstrations of hybrid rollouts come from: `demonstration_column` (`"dataset"`), or a bank of
            rollouts that solved their problem earlier in the run (`"own"`, ExGRPO). A group with one of them trains
            the problem that it solves in place of its own: one that some of its rollouts solved on its last attempt,
            and some did not. A problem that all solved leaves the bank for ever. With `prefix_loss_type="shaped"` pi
            is then divided by its value when the success was sampled.
        own_successes_start (`float`, *optional*, defaults to `0.0`):
            Share of solved rollouts of a generation batch above which successes are stored and, from then on,
            replayed. ExGRPO: 0.35.
        own_successes_max_problems (`int`, *optional*, defaults to `10000`):
            Problems in the bank; the oldest leave first. A token of a success takes about 9 bytes, in each process
            and in each checkpoint.
        own_successes_per_problem (`int`, *optional*, defaults to `8`):
            Successes of a problem in the bank; the oldest leave first. Replayed is the one with the lowest mean
            entropy under the policy of now, for which each is passed through the model once.
        per_device_demonstration_batch_size (`int`, *optional*, defaults to `0`):
            Demonstrations of the trainer's `demonstration_dataset` that each micro-batch on each device has besides
            its rollouts. They have no reward and are in no group (CHORD).

        > Parameters that control where the prefix stands

        prefix_placement (`str`, *optional*, defaults to `"completion"`):
            Where the prefix stands: at the start of the completion (`"completion"`), or in the prompt as a hint
            (`"prompt"`), by `prefix_hint_template`. A hint is no part of the completion and is not trained.
        prefix_hint_template (`str`, *optional*, defaults to `"{prompt}\n\n## Hint\n{hint}"`):
            Prompt with a hint, of the user's last message where prompts are messages: `{prompt}` and `{hint}` once
            each; other braces are text.
        prefix_hint_in_loss (`bool`, *optional*, defaults to `True`):
            Whether the loss sees the prompt with its hint, which was sampled from. With `False` it sees the plain
            prompt, and the ratio to the policy behind the hint corrects for it, within the clip of the loss.

        > Parameters that control stages, the further samples of a group in the same step

        prefix_stage_ratios (`list[float]`, *optional*):
            Prefix ratio of each stage: 0 samples once more without a prefix, 1 takes the whole demonstration with the
            end of sequence. GHPO: 0.25, 0.5, 0.75. By default there are no stages.
        prefix_stage_thresholds (`list[float]`, *optional*):
            For each stage the highest share of solved rollouts at which a group takes part in it. Defaults to 0:
            groups without a success.
        prefix_stage_generations (`list[int]`, *optional*):
            Rollouts of a group in each stage. Defaults to the whole group, and to 1 with
            `prefix_stage_replaces="rollout"`; with `"none"` it has no default.
        prefix_stage_replaces (`str`, *optional*, defaults to `"group"`):
            What the rollouts of a stage replace: with `"group"` the whole group (GHPO, BREAD); with `"rollout"` the
            first of the group, by the first of them that is a success (Scaf-GRPO); with `"none"` nothing (TRAPO): they
            are some of the `num_generations`, sampled after the others, without a prefix above the threshold.
        prefix_stage_groups (`str`, *optional*, defaults to `"failed"`):
            Groups that take part in a stage: those at or below its threshold (`"failed"`), or those with one reward
            (`"equal"`; DAPO's dynamic sampling).
        prefix_stage_prompts (`str`, *optional*, defaults to `"same"`):
            Whether a stage samples the prompt of the group (`"same"`), or another one of the dataset (`"other"`).
        prefix_stage_max_rollouts (`int`, *optional*):
            Most rollouts that stages sample in addition to a generation batch, over all processes. By default all
            that they ask for.

        > Parameters that control the length of the prefix

        prefix_ratio_schedule (`str`, *optional*, defaults to `"cosine"`):
            How the lower bound of the prefix ratio decays from `prefix_ratio_high` to `prefix_ratio_low`: `"cosine"`
            (paper), `"linear"`, or `"constant"`, which stays at `prefix_ratio_low` from the start. `"adaptive"` draws
            the ratio from U[low, high * (1 - s)], where s is the fraction of on-policy rollouts that solved the
            problem on its last attempt: no prefix if all did. `"whole"` takes whole demonstrations with the end of
            sequence as hybrid rollouts, without sampling (LUFFY); those above `max_completion_length` are left out.
        prefix_ratio_distribution (`str`, *optional*, defaults to `"uniform"`):
            Distribution of the ratio: `"uniform"` between the two bounds of the schedule (paper), or `"binomial"`
            (UFT): the n sentences of a demonstration are cut into min(5, n) slices, and the first k ~ Binomial(min(5,
            n), p) are the prefix, where p is the lower bound of the schedule. After the decay there is no prefix.
        prefix_ratio_high (`float`, *optional*, defaults to `0.95`):
            Upper bound of the prefix ratio, the fraction of a demonstration used as a prefix. Paper: 0.95.
        prefix_ratio_low (`float`, *optional*, defaults to `0.05`):
            Final lower bound of the prefix ratio. Paper: 0.05.
        prefix_ratio_decay_steps (`int`, *optional*):
            Optimizer steps after which the lower bound stays at `prefix_ratio_low`. Defaults to the length of the run.
            Paper: 500 of 500 steps.
        prefix_unit (`str`, *optional*, defaults to `"token"`):
            What the ratio is a fraction of in demonstrations with tool calls: tokens of the assistant's turns
            (`"token"`), where a cut within the tool calls of a turn moves to their beginning, or its m turns
            (`"turn"`), of which at most m - 1 are given. Only with `tools` or `environment_factory`.
        prefix_tool_results (`str`, *optional*, defaults to `"real"`):
            What a tool call in a prefix gets: the result of its execution (`"real"`), that of the demonstration, and
            no execution (`"demonstration"`), or the former, and no further turn where the two differ, so that the
            policy goes on from there (`"on_policy"`). Results of a turn are compared in any order. Only with tools.
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
        prefix_top_entropy_quantile (`float`, *optional*):
            Fraction of the prefix tokens that is trained; 1.0 trains all of them. Paper: 0.2, the default of the loss
            types `"ppo"`, `"ppo_unclipped"`, `"shaped"` and `"cross_entropy"`; the others have none.
        prefix_loss_type (`str`, *optional*, defaults to `"ppo"`):
            Weight of the prefix tokens that are trained. With the advantage A of their rollout: `"ppo"` (paper, Eq. 3)
            leaves them to `loss_type`, clip included, like sampled tokens; `"ppo_unclipped"` (authors' code) is A
            times ratio; `"shaped"` is LUFFY's A * pi * gamma / (pi + gamma)^2. Without it, for `prefix_loss_coef`
            times a weighted cross-entropy: `"cross_entropy"` is 1 (UFT, HPT, RL with SFT loss), `"dft"` is pi,
            `"chord_phi"` is pi * (1 - pi), `"trust_region"` is min(1, pi / gamma) (TRAPO).
        prefix_loss_normalization (`str`, *optional*):
            What the sum over prefix tokens is divided by: `"tokens"`, the prefix tokens; `"prompts"`, for a mean over
            the tokens of each prefix, then over the prompts; `"loss"`, what `loss_type` divides by. They are counted
            over all processes and the generation batch, of which each optimizer step has its share. Defaults to
            `"loss"` for the loss types with an advantage, and to `"tokens"` for the others.
        prefix_shaping_gamma (`float`, *optional*, defaults to `0.1`):
            Gamma of `"shaped"`, the probability at which its weight is largest (LUFFY: 0.1), and of `"trust_region"`,
            the probability above which its weight is 1 (TRAPO: 0.1).
        prefix_loss_coef (`float`, *optional*):
            Coefficient of the weight of prefix tokens. Defaults to 1 for the loss types with an advantage and to
            0.001 for `"cross_entropy"` (UFT); the others have no default.
        prefix_loss_coef_schedule (`str`, *optional*, defaults to `"constant"`):
            How the coefficient goes from `prefix_loss_coef` to `prefix_loss_coef_end` after its warm-up: `"linear"`,
            `"cosine"` (CHORD), or not at all.
        prefix_loss_coef_end (`float`, *optional*):
            Last coefficient of a schedule. Defaults to 0. CHORD: 0.05.
        prefix_loss_coef_decay_steps (`int`, *optional*):
            Optimizer steps from the end of the warm-up to `prefix_loss_coef_end`. Defaults to the rest of the run.
            CHORD: 200.
        prefix_loss_coef_warmup_steps (`int`, *optional*, defaults to `0`):
            Optimizer steps in which the coefficient rises linearly from 0.
        prefix_loss_convex (`bool`, *optional*, defaults to `False`):
            Whether sampled tokens get 1 minus the coefficient as theirs (CHORD), which is at most 1 then.
        prefix_gate (`float`, *optional*):
            Highest share of a group's on-policy rollouts that succeed in this step at which its prefix tokens are
            trained. Above it its hybrid rollouts leave the loss, the mean of the group and the counts of tokens. HPT:
            0. By default there is no gate. `prefix_prompts="failed"` looks at earlier steps.
        prefix_gate_drops_rollouts (`bool`, *optional*, defaults to `False`):
            Whether the on-policy rollouts leave the loss where the gate is open (HPT, SuperRL).

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

        prefix_gradient_norm_steps (`int`, *optional*):
            Optimizer steps between two measurements of the norm of the gradient of prefix tokens and of sampled
            tokens, each of which takes a further backward pass and one to two further copies of the gradients. By
            default it is not measured. Not with FSDP or DeepSpeed.
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
    prefix_prompt_share: float = 1.0
    prefix_success_reward: float = 1.0
    answer_column: str | None = "solution"

    demonstration_source: str = "dataset"
    own_successes_start: float = 0.0
    own_successes_max_problems: int = 10_000
    own_successes_per_problem: int = 8
    per_device_demonstration_batch_size: int = 0

    prefix_placement: str = "completion"
    prefix_hint_template: str = "{prompt}\n\n## Hint\n{hint}"
    prefix_hint_in_loss: bool = True

    prefix_stage_ratios: list[float] | None = None
    prefix_stage_thresholds: list[float] | None = None
    prefix_stage_generations: list[int] | None = None
    prefix_stage_replaces: str = "group"
    prefix_stage_groups: str = "failed"
    prefix_stage_prompts: str = "same"
    prefix_stage_max_rollouts: int | None = None

    prefix_ratio_schedule: str = "cosine"
    prefix_ratio_distribution: str = "uniform"
    prefix_ratio_high: float = 0.95
    prefix_ratio_low: float = 0.05
    prefix_ratio_decay_steps: int | None = None
    prefix_unit: str = "token"
    prefix_tool_results: str = "real"
    prefix_exclude_answer: bool = False

    prefix_advantage: str = "group"
    prefix_selection: str = "top_entropy"
    prefix_top_entropy_quantile: float | None = None
    prefix_loss_type: str = "ppo"
    prefix_loss_normalization: str | None = None
    prefix_shaping_gamma: float = 0.1
    prefix_loss_coef: float | None = None
    prefix_loss_coef_schedule: str = "constant"
    prefix_loss_coef_end: float | None = None
    prefix_loss_coef_decay_steps: int | None = None
    prefix_loss_coef_warmup_steps: int = 0
    prefix_loss_convex: bool = False
    prefix_gate: float | None = None
    prefix_gate_drops_rollouts: bool = False

    trim_padding: bool = True
    group_rollouts_by_length: bool = True
    skip_zero_weight_rollouts: bool = True
    padding_free: bool = False

    prefix_gradient_norm_steps: int | None = None
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
        check_combinations(self)

    @property
    def uses_prefixes(self) -> bool:
        """Whether a rollout may start from a demonstration."""
        return self.num_prefix_generations > 0 or any(self.prefix_stage_ratios or [])

    @property
    def extends_grpo(self) -> bool:
        """Whether anything but plain GRPO is asked for."""
        return self.uses_prefixes or bool(self.prefix_stage_ratios) or self.per_device_demonstration_batch_size > 0

    @property
    def needed_demonstration_column(self) -> str | None:
        """Dataset column that hybrid rollouts start from; `None` if there are none, or they start from another."""
        return self.demonstration_column if self.uses_prefixes and self.demonstration_source == "dataset" else None

    @property
    def needs_success_history(self) -> bool:
        """Whether the prefix of a problem depends on the policy's success on it so far."""
        return self.prefix_ratio_schedule == "adaptive" or self.prefix_prompts == "failed"

    @property
    def gives_whole_demonstrations(self) -> bool:
        return self.prefix_ratio_schedule == "whole"

    @property
    def prefix_token_rule(self) -> PrefixTokenRule:
        """How prefix tokens are trained, with the defaults of `prefix_loss_type` where settings are left out."""
        law = TOKEN_LAWS[self.prefix_loss_type]
        coef = law.coef if self.prefix_loss_coef is None else self.prefix_loss_coef
        quantile = law.quantile if self.prefix_top_entropy_quantile is None else self.prefix_top_entropy_quantile
        return PrefixTokenRule(
            law=law,
            selection=self.prefix_selection,
            quantile=1.0 if quantile is None else quantile,  # of `prefix_selection="none"`, which needs none
            gamma=self.prefix_shaping_gamma,
            normalization=self.prefix_loss_normalization or law.normalization,
            coefficient=Coefficient(
                1.0 if coef is None else coef,  # which `check` has refused
                self.prefix_loss_coef_end or 0.0,
                self.prefix_loss_coef_schedule,
                self.prefix_loss_coef_warmup_steps,
                self.prefix_loss_coef_decay_steps,
            ),
            is_convex=self.prefix_loss_convex,
        )
