"""The plan: everything the user decided, one immutable value, one YAML file."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from ftwizard.data.format_names import Format, FormatChoice, TargetName
from ftwizard.data.io.read_options import ReadOptions
from ftwizard.data.mapping.column_map import ColumnMap
from ftwizard.data.split import GroupBy
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.objectives import ObjectiveName
from ftwizard.rewards.reward import Reward

RiskName = Literal["no-validation", "many-epochs", "skip-bad-rows", "secrets", "weak-grader"]
Provider = Literal["local", HostedProvider]
Auto = Literal["auto"]
HostedMethod = Literal["supervised", "dpo", "reinforcement"]
TrainingType = Literal[
    "Standard", "GlobalStandard", "DeveloperTier", "standard", "globalStandard", "developerTier"
]
"""Microsoft's own names, in both of the spellings that its documents use."""
Parallel = Literal["auto", "ddp", "fsdp"]
Reporter = Literal["wandb", "tensorboard", "trackio"]
Method = Literal["lora", "qlora", "full"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2", "kernels-community/flash-attn2"]
_PREFERENCE_RATES: dict[Method, float] = {"lora": 5e-6, "qlora": 5e-6, "full": 5e-7}
"""Source: the commands in trl/scripts/dpo.py of TRL 1.16. “The optimal configuration for KTO will be
similar to that of DPO” (trl/scripts/kto.py)."""
LEARNING_RATES: dict[ObjectiveName, dict[Method, float]] = {
    "sft": {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5},
    "dpo": _PREFERENCE_RATES,
    "kto": _PREFERENCE_RATES,
    # The default of TRL 1.16's GRPOConfig, and ten times as much for adapters.
    "grpo": {"lora": 1e-5, "qlora": 1e-5, "full": 1e-6},
}
"""Peak learning rate for each objective and method where the plan names none. Adapters take about ten
times the learning rate of a full fine-tune."""
LOCAL_TARGETS: dict[ObjectiveName, TargetName] = {
    "sft": "trl-sft",
    "dpo": "trl-dpo",
    "kto": "trl-kto",
    "grpo": "trl-grpo",
}
"""The data rules of each objective on this machine."""
OBJECTIVES: dict[Format | None, ObjectiveName] = {
    "preference": "dpo",
    "openai-preference": "dpo",
    "kto": "kto",
}
"""The objective for rows of a format, where it is not sft."""
DpoLoss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip
MANY_EPOCHS = 3
"""More epochs than this need `many-epochs` allowed, or an earlier run whose loss was still falling."""

LM_EVAL = "lm-eval:"
"""Begins the name of a set that is a task of lm-eval, not a file."""
MIN_SAMPLED_VALIDATION = 32
"""Validation rows that ``data.max_rows`` always leaves, where there are so many."""


class PlanPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the plan; an unknown key is an error."""


class Files(PlanPart, frozen=True):
    """Data files; relative names are relative to the plan's folder."""

    train: str
    """Rows to train on, in ``data.format``: JSON Lines or a JSON array."""
    validation: str | None = None
    """Rows for the validation loss. Default: split off ``train``."""
    test: str | None = None
    """Test set, on which the base and the tuned model are compared. Default: split off ``train``."""


class Split(PlanPart, frozen=True):
    """Shares of ``files.train`` that are set aside; related rows stay in one part."""

    validation: float | None = None
    """Share for validation; 0.1–0.2 is advised. Default: 0.1 without a validation file."""
    test: float | None = None
    """Share for the test set. Default: 0.1 without a test file."""
    group_by: GroupBy = "near-copies"
    """What keeps rows in one part. ``near-copies``: a prompt in common (ignoring case and white
    space) or near-duplicate text, with every kind of row in each part; ``prompts``: exactly the same
    prompt."""
    seed: int = 42
    """Seed of the split and of the draw of ``data.mix``."""


class Mix(PlanPart, frozen=True):
    """General examples mixed into the training set, against forgetting. They are never part of the
    validation or the test set."""

    share: float = 0.0
    """Share of the training set, these rows included. 0.05–0.1 is advised; 0 is none."""
    rows: str = "general"
    """``general``, the set that ships with ftwizard, or a file of rows in any supported format. Each
    row is used at most once, and never if its prompt is in another file of the plan."""


class Data(PlanPart, frozen=True):
    """The data to train on."""

    files: Files
    format: FormatChoice = "auto"
    """``openai-chat``: messages, with an optional top-level ``system`` and ``tools``;
    ``prompt-completion``: TRL's, both text or both messages; ``alpaca``: ``instruction``,
    ``input``, ``output``; ``auto``: detected from the keys of all rows, for each file."""
    columns: ColumnMap = ColumnMap()
    """Column mapping of the files, for rows in no known format: ``prompt: question_text``. Empty:
    the rows are read as they are."""
    encoding: str | None = None
    """Encoding of the text files without a byte-order mark, such as ``windows-1252``. Default:
    UTF-8."""
    split: Split = Split()
    mix: Mix = Mix()
    max_rows: int | None = None
    """Train on at most this many rows of ``files.train``, drawn in proportion to their kind and
    length after the split. The test set stays whole; of the validation rows, see
    ``max_validation_rows``. Default: all rows."""

    @property
    def max_validation_rows(self) -> int | None:
        """Return how many validation rows are used at most: with ``max_rows`` a quarter as many, so
        that evaluations do not take longer than the training, but not below
        ``MIN_SAMPLED_VALIDATION``."""
        if self.max_rows is None:
            return None
        return max(MIN_SAMPLED_VALIDATION, self.max_rows // 4)

    @property
    def read_options(self) -> ReadOptions:
        """Return how the files are read."""
        return ReadOptions(columns=self.columns, encoding=self.encoding)


class Model(PlanPart, frozen=True):
    """The base model."""

    name: str
    """A folder with safetensors weights, or an id on the Hugging Face Hub."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; the run records the commit."""


class DPO(PlanPart, frozen=True):
    """Settings of direct preference optimization, under TRL's names; with ``recipe.objective: dpo``."""

    beta: float = 0.1
    """Weight of the penalty for leaving the reference model, which is the model at the start of the
    training. Higher: the model changes less."""
    loss_type: DpoLoss | tuple[DpoLoss, ...] = "sigmoid"
    """``sigmoid`` is the loss of the DPO paper. Several are added up: ``[sigmoid, sft]`` also raises
    the probability of the chosen answers themselves."""
    loss_weights: tuple[float, ...] | None = None
    """Weight of each loss, where there are several. Default: 1 each."""
    label_smoothing: float = 0.0
    """Share of pairs that are assumed to be the wrong way round, with the losses ``robust``, ``aot``,
    ``aot_unpaired`` and ``exo_pair``, which needs one above 0."""
    precompute_ref_log_probs: bool | None = None
    """Ask the reference model once before the first step, and not in each step. Default: only for a
    full fine-tune, which would need a second copy of the model. An adapter is turned off instead."""


class KTO(PlanPart, frozen=True):
    """Settings of Kahneman-Tversky optimization, under TRL's names; with ``recipe.objective: kto``."""

    beta: float = 0.1
    """Weight of the penalty for leaving the reference model, as for DPO."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """``kto`` compares each answer with the other answers of its batch, and needs a batch size of at
    least 2."""
    desirable_weight: float = 1.0
    """Weight of the answers labeled true. With few of them: rows labeled false / rows labeled true."""
    undesirable_weight: float = 1.0
    """Weight of the answers labeled false."""
    precompute_ref_log_probs: bool | None = None
    """As for DPO."""


class GRPO(PlanPart, frozen=True):
    """Settings of group relative policy optimization, under TRL's names; with ``recipe.objective: grpo``.
    The model answers each prompt several times, and learns from the rewards of its answers."""

    rewards: tuple[Reward, ...] = ()
    """Reward functions: ``{function, weight, options}`` each. See docs/rewards.md."""
    reference_column: str | None = None
    """Column with the right answer, of rows without an answer. Default: one that is named so."""
    answer_template: str = "{answer}"
    """Form of a right answer, for the dry run: ``<answer>{answer}</answer>``."""
    num_generations: int = 8
    """Answers to each prompt, a group. ``batch_size`` times ``gradient_accumulation``, of all processes,
    must be a multiple of it."""
    num_generations_eval: int | None = None
    """Answers to each validation prompt. Default: as in training."""
    max_completion_length: int = 512
    """Tokens of an answer. ``max_length`` is that of a prompt: longer ones are left out."""
    temperature: float = 1.0
    """Of the sampled answers: with less, the answers of a group differ less, and teach less."""
    top_p: float = 1.0
    """Share of the probability that answers are sampled from."""
    top_k: int = 0
    """Most probable tokens that answers are sampled from; 0: all."""
    beta: float = 0.0
    """Weight of the KL penalty for leaving the model at the start of the training; 0: none."""
    loss_type: Literal["dapo", "grpo", "bnpo", "dr_grpo"] = "dapo"
    """How the losses of tokens are averaged. ``grpo`` prefers short right answers and long wrong ones."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What the rewards of a group are divided by: their own deviation, that of the batch, or nothing."""
    epsilon: float = 0.2
    """Limit of a change of a token's probability in one step, down and up."""
    epsilon_high: float | None = None
    """The limit upwards. Default: ``epsilon``."""
    num_iterations: int = 1
    """Optimizer steps on the same answers."""
    mask_truncated_completions: bool = False
    """Leave answers that reach ``max_completion_length`` out of the loss."""


class Recipe(PlanPart, frozen=True):
    """Training settings."""

    objective: ObjectiveName = "sft"
    """``sft``: learn the answers of the rows; ``dpo``: prefer the chosen answer of each pair to the
    rejected one; ``kto``: prefer the answers labeled true to those labeled false; ``grpo``: raise the
    rewards of the model's own answers."""
    method: Method = "lora"
    """``lora``: an adapter on 16-bit weights; ``qlora``: an adapter on 4-bit weights (NF4, double
    quantization), for less memory; ``full``: all weights, at about 16 bytes of memory per weight."""
    rank: int = 16
    """LoRA rank r."""
    alpha: int = 32
    """LoRA scaling numerator: the update is scaled by alpha / rank."""
    dropout: float = 0.05
    """Dropout on the adapter's input. With ``dpo``, ``kto`` and ``grpo`` there is none: the model is
    compared with its reference, or with the one that answered."""
    target_modules: tuple[str, ...] | None = None
    """Modules that get an adapter. Default: the seven projections of a Llama-like block (q, k, v,
    o, gate, up, down), in other models every linear layer of the blocks; fused experts too, never
    routers or the output layer."""
    epochs: float = 3.0
    max_steps: int | None = None
    """Stop after this many optimizer steps, even within an epoch; the learning rate falls over
    them. Default: none but ``epochs``."""
    learning_rate: float | None = None
    """Peak learning rate. Default: 2e-4 for LoRA and QLoRA, 2e-5 for full fine-tuning; with ``dpo``
    and ``kto`` 5e-6 and 5e-7, with ``grpo`` 1e-5 and 1e-6."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after warmup."""
    warmup: float = 0.03
    """Share of all steps over which the learning rate rises to its peak."""
    batch_size: int = 4
    """Examples, or packed sequences, in one forward pass (per device)."""
    gradient_accumulation: int = 1
    """Forward passes per optimizer step."""
    max_length: int = 1024
    """Maximum tokens per example; longer ones are cut at the end."""
    packing: bool = False
    """Pack several examples, which do not attend to each other, into sequences of ``max_length``
    tokens: faster with short examples, in fewer and larger steps. Refused for models that mix them."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """``auto``: bf16 where the hardware supports it; else fp32 on CPUs, for QLoRA and for Gemma, and
    fp16 on other GPUs. Gemma in fp16 is refused."""
    padding_free: bool = False
    """Lay the examples of a batch end to end, not attending to each other, instead of padding them to
    the longest: the same steps with less computation. Refused for models that mix them."""
    attention: Attention = "auto"
    """``auto``: FlashAttention where flash-attn is installed and the GPU is Ampere or newer, else
    sdpa. ``kernels-community/flash-attn2``: FlashAttention as compiled code from the Hub, by the
    kernels package."""
    kernels: bool = False
    """Replace layers by faster ones where the Hub's kernels-community has compiled code for them; by
    the kernels package, on a GPU only."""
    gradient_checkpointing: bool | None = None
    """Recompute activations to save memory. Default: on a GPU only."""
    evaluation_steps: int | None = None
    """Steps between evaluations. Default: 50, or fewer so that there are at least six."""
    save_steps: int | None = None
    """Steps between extra checkpoints, besides those at each evaluation. Default: none."""
    patience: int = 3
    """Evaluations without a lower validation loss before early stopping."""
    seed: int = 42
    dpo: DPO = DPO()
    kto: KTO = KTO()
    grpo: GRPO = GRPO()

    @property
    def default_learning_rate(self) -> float:
        """Return the peak learning rate where the plan names none."""
        return LEARNING_RATES[self.objective][self.method]

    @property
    def peak_learning_rate(self) -> float:
        """Return the peak learning rate."""
        return self.learning_rate or self.default_learning_rate

    @property
    def is_flat(self) -> bool:
        """Return whether the examples of a batch are laid end to end, without padding."""
        return self.packing or self.padding_free

    @property
    def asks_reference_first(self) -> bool:
        """Return whether the reference model is asked once, before the first step."""
        if self.objective in ("sft", "grpo"):
            return False
        settings = self.dpo if self.objective == "dpo" else self.kto
        chosen = settings.precompute_ref_log_probs
        return self.method == "full" if chosen is None else chosen

    @property
    def reference_passes(self) -> float:
        """Return the forward passes without gradients that come with each pass of training.

        Those before the first step are spread over the epochs.

        Source: ``_compute_loss`` of TRL 1.16. DPO: the reference. KTO also reads each prompt with
        another answer, and lets the reference read both.
        """
        if self.objective in ("sft", "grpo"):
            return 0
        kl = int(self.objective == "kto" and self.kto.loss_type == "kto")
        return kl + (1 + kl) / (self.epochs if self.asks_reference_first else 1)

    def count_prompts(self, ranks: int = 1) -> int:
        """Return the prompts of one optimizer step of ``grpo``, each with a group of answers.

        ``ranks``: processes that train together.
        """
        answers = self.batch_size * self.gradient_accumulation * ranks
        return max(1, answers // self.grpo.num_generations)

    @property
    def sequences_per_row(self) -> int:
        """Return the sequences of one row in a batch: a pair has two."""
        return 2 if self.objective == "dpo" else 1


class Where(PlanPart, frozen=True):
    """The hardware to train on."""

    gpu: int | None = None
    """Index of the GPU to use. Default: the first, or the CPU without one."""
    processes: int = 1
    """Processes that train together on this machine: one per GPU; on a machine without a GPU, on its
    CPU. Each step takes ``recipe.batch_size`` x ``recipe.gradient_accumulation`` rows in each."""
    parallel: Parallel = "auto"
    """How several processes train together, each on a part of the rows. ``ddp``: each holds the whole
    model; gradients are averaged. ``fsdp``: the model is divided among them, and each layer is
    gathered when it is computed. ``auto``: ``fsdp`` if one GPU may be too small, else ``ddp``."""
    scheduler: Literal["none", "slurm"] = "none"
    """``none``: train on this machine; ``slurm``: submit a job, which trains on a node of the cluster,
    as ``slurm`` says. The run's folder must be on a disk that the node has too."""


class Slurm(PlanPart, frozen=True):
    """The Slurm job of the run, with ``where.scheduler: slurm``. What is not set is the cluster's own
    default."""

    partition: str | None = None
    """Partition to submit to."""
    account: str | None = None
    """Account that is charged."""
    qos: str | None = None
    """Quality of service."""
    time: int | str | None = None
    """Time limit as Slurm writes it: minutes, ``12:00:00``, or ``1-00:00:00`` with days."""
    nodes: int = 1
    """Nodes that train together, each with ``where.processes`` processes."""
    gpus: int = 1
    """GPUs of each node; 0: train on its CPU."""
    gpu_type: str | None = None
    """Type of the GPUs, by the cluster's name: ``a100``."""
    cpus: int | None = None
    """CPU cores of each node."""
    memory: str | None = None
    """Memory of each node: ``64G``."""
    constraint: str | None = None
    """Features that each node must have."""
    prelude: str = ""
    """Shell lines that run on the node before the training: ``module load cuda``,
    ``export HF_HOME=/shared/hf``."""
    requeue: bool = True
    """Continue by itself, in the same job, after its time limit, after a preemption and after a node
    failure."""
    stop_before_s: int = 180
    """Seconds before the time limit at which the run saves and stops. Slurm may be up to a minute early."""


class Budget(PlanPart, frozen=True):
    """Limits of a run. At ``minutes`` it finishes early; at the others it stops, to be resumed."""

    minutes: float | None = None
    """Finish within this many minutes in one attempt: reading, loading, training, merging and
    evaluating, but not the download of the model. Training ends in time for the rest."""
    hours: float | None = None
    """Save and stop after this many hours of training in one attempt."""
    usd: float | None = None
    """Save and stop when all attempts together have cost this many US dollars. Needs the hourly price
    of the machine."""


class Finish(PlanPart, frozen=True):
    """What the run does after training."""

    merge: bool = True
    """Merge the adapter into the 16-bit base model: one model that any server loads. A full
    fine-tune is already one."""
    compare: bool = True
    """Evaluate the tuned model against its base, as ``evaluate`` says."""
    pairs: int = 5
    """How many pairs of answers to show."""
    max_new_tokens: int | None = None
    """Tokens of an answer. Default: twice the usual expected answer, plus 16."""
    export: tuple[str, ...] = ()
    """Forms to export the merged model to: ``gguf``, ``gguf:q4_k_m``, ``ollama``, ``vllm``. GGUF and
    Ollama are rehearsed with the base model before the first step."""


class Gate(PlanPart, frozen=True):
    """What the tuned model must reach to be shipped, as shares of a set. It is fixed when the run
    begins: what is known by then cannot change it."""

    gain: float = 0.05
    """Gain on the target set over the base model, the prompted one and the parent."""
    max_general_loss: float = 0.05
    """Loss on the general set, compared with the base model, that is tolerated."""
    max_safety_loss: float = 0.05
    """Loss on the safety set that is tolerated."""


class Judge(PlanPart, frozen=True):
    """A model that grades answers to items whose scorer is ``judge``."""

    url: str | None = None
    """Base address of an OpenAI-compatible endpoint: ``http://localhost:11434/v1``."""
    model: str | None = None
    """Name of the model at the endpoint."""
    key_variable: str | None = None
    """Environment variable with its key."""


class Evaluate(PlanPart, frozen=True):
    """What base and tuned model are evaluated on, besides the test set. The base model answers
    before the first step."""

    sets: tuple[str, ...] = ()
    """Files of your own: prompts with expected answers or rules; ``lm-eval:TASK`` where it is
    installed."""
    general: bool = True
    """The packaged general set, which shows forgetting. DPO, KTO and GRPO also measure general text
    during training."""
    safety: bool = True
    """The packaged safety set, which shows refusals and over-refusals."""
    system: str | None = None
    """System prompt of the prompted base model. Default: that of the training rows."""
    shots: int = 3
    """Examples from the training rows in the prompt of the prompted base model; 0 without ``system``
    leaves it out."""
    max_items: int | None = None
    """Items of each set at most, drawn at random. Default: 400 on a GPU, 120 on a CPU, 100 at a
    platform, where answers are billed."""
    scorer: str = "auto"
    """How the answers of your test rows are compared: ``numeric``, ``boxed``, ``choice``, ``json``,
    ``tool_call``, ``normalized``, ``exact``, ``date``, ``code``, ``judge``, ``chrf`` or ``rouge``;
    ``extracted`` with ``answer_pattern``; by a function of your own, written like a reward: ``score.py:score``.
    Default: by what the rows show. Sets name their own."""
    answer_pattern: str | None = None
    """Regular expression whose first group is the answer in a longer one: ``#### (.+)``. The last match
    counts. It is compared as a number, a date or text, unless ``scorer`` says how."""
    requires_headroom: bool = False
    """End the run before its first step if the base model, prompted or not, is shown to leave less to
    gain than ``gate.gain``: by the whole 95% interval of its score."""
    judge: Judge = Judge()


class Samples(PlanPart, frozen=True):
    """Fixed prompts that the model answers before the first step and at each evaluation."""

    count: int = 3
    """Validation prompts to use where ``prompts`` is not set, spread over lengths; 0: no samples."""
    prompts: tuple[str, ...] | str | None = None
    """Your own prompts, or a file: rows in any format, whose answers are shown as the expected ones,
    or a ``.txt`` file with one prompt per line. The first 20 are used."""
    max_tokens: int = 64
    """Tokens of an answer. Samples may take half as long as the evaluation, or one second."""


class Wandb(PlanPart, frozen=True, kw_only=True):
    """Metrics of a hosted job in Weights & Biases, which the platform sends itself."""

    project: str | None = None
    """Project of the run. Default: no integration, or ``ftwizard`` where ``report_to`` names wandb."""
    entity: str | None = None
    """Team or user. Default: that of the key."""
    name: str | None = None
    """Name of the run. Default: the id of the job."""
    tags: tuple[str, ...] = ()


class PlatformSettings(PlanPart, frozen=True, kw_only=True):
    """Settings of a job at a hosted platform, under its own names."""

    METHOD: ClassVar[str] = "method"
    """Name of the setting with the method of training."""
    EPOCHS: ClassVar[str] = "n_epochs"
    """Name of the setting with the passes over the rows."""
    TAKES_VALIDATION: ClassVar[bool] = True
    """Whether a job takes a file of validation rows."""
    REGION: ClassVar[str] = ""
    """Name of the setting with the region of the job; empty where the platform chooses it."""

    @property
    def own_method(self) -> str:
        """Return the method of training by the platform's own name."""
        return str(getattr(self, self.METHOD))

    @property
    def epochs(self) -> int | Auto:
        """Return the passes over the rows."""
        epochs: int | Auto = getattr(self, self.EPOCHS)
        return epochs

    @property
    def sent_to_wandb(self) -> Wandb | None:
        """Return what the platform sends to Weights & Biases; None if it cannot."""
        wandb: Wandb | None = getattr(self, "wandb", None)
        return wandb


class OpenAI(PlatformSettings, frozen=True, kw_only=True):
    """Settings of a fine-tuning job at OpenAI, under OpenAI's own names."""

    method: HostedMethod = "supervised"
    """``dpo`` needs preference rows, ``reinforcement`` prompts and a grader."""
    n_epochs: int | Auto = 3
    """1–50."""
    batch_size: int | Auto = "auto"
    """Examples per step, 1–256."""
    learning_rate_multiplier: float | Auto = "auto"
    """Factor on OpenAI's own learning rate, above 0."""
    beta: float | Auto = "auto"
    """With ``dpo``: weight of the penalty for leaving the base model, above 0 and at most 2."""
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    """With ``reinforcement``."""
    compute_multiplier: float | Auto = "auto"
    """With ``reinforcement``: factor on the compute for exploring answers."""
    eval_interval: int | Auto = "auto"
    """With ``reinforcement``: steps between evaluations."""
    eval_samples: int | Auto = "auto"
    """With ``reinforcement``: samples of an evaluation."""
    grader: dict[str, Any] | str | None = None
    """With ``reinforcement``: OpenAI's grader object, a JSON or YAML file with one, or a Python file
    with the function ``grade(sample, item)``."""
    suffix: str | None = None
    """Part of the tuned model's name, 1–64 characters."""
    seed: int | None = None
    """0–2147483647. Default: OpenAI's choice."""
    metadata: dict[str, str] = {}
    """Up to 15 notes on the job: keys of at most 64 characters, values of at most 512."""
    wandb: Wandb = Wandb()


class Foundry(OpenAI, frozen=True, kw_only=True):
    """Settings of a fine-tuning job at Microsoft Foundry, under its own names; see ``OpenAI``."""

    trainingType: TrainingType = "GlobalStandard"
    """Where it is trained. ``Standard``: in the resource's region. ``GlobalStandard``: in any region,
    for less. ``DeveloperTier``: on spare capacity, for half of that, and may be interrupted."""
    deployment: str | None = None
    """Name of a deployment of the tuned model, for the evaluation. Default: ftwizard names the
    command that makes one."""
    base_deployment: str | None = None
    """Name of a deployment of the base model, which the tuned one is compared with."""


class Together(PlatformSettings, frozen=True, kw_only=True):
    """Settings of a fine-tuning job at Together, under the names of Together's SDK."""

    METHOD = "training_method"
    training_method: Literal["sft", "dpo"] = "sft"
    lora: bool = True
    """False: a full fine-tune."""
    lora_r: int | None = None
    """LoRA rank. Default: the model's own."""
    lora_alpha: int | None = None
    """Default: twice the rank."""
    lora_dropout: float = 0.0
    lora_trainable_modules: str = "all-linear"
    """Modules that get an adapter, with commas between them."""
    n_epochs: int = 3
    n_evals: int | None = None
    """Evaluations on the validation file. Default: 10 with one, else 0."""
    n_checkpoints: int = 1
    batch_size: int | Literal["max"] = "max"
    gradient_accumulation_steps: int | None = None
    """Default: the model's own."""
    learning_rate: float = 1e-5
    lr_scheduler_type: Literal["linear", "cosine"] = "cosine"
    min_lr_ratio: float = 0.0
    """Learning rate at the end, as a share of its peak."""
    scheduler_num_cycles: float = 0.5
    """With ``cosine``: cycles over the whole job."""
    warmup_ratio: float = 0.0
    """Share of all steps over which the learning rate rises to its peak."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; 0: not at all."""
    weight_decay: float = 0.0
    packing: bool = True
    """Without it, every row is billed as ``max_seq_length`` tokens."""
    max_seq_length: int | None = None
    """Default: the most that the model allows."""
    train_on_inputs: bool | Auto = "auto"
    """With ``sft``: whether prompts count toward the loss; ``auto``: not those of conversations."""
    train_vision: bool = False
    """Train the vision encoder too, in models that have one."""
    dpo_beta: float | None = None
    """With ``dpo``: weight of the penalty for leaving the base model. Default: 0.1."""
    dpo_normalize_logratios_by_length: bool = False
    rpo_alpha: float | None = None
    """With ``dpo``: weight of the loss on the preferred answer."""
    simpo_gamma: float | None = None
    """With ``dpo``: margin of SimPO, which uses no reference model."""
    early_stopping_enabled: bool = False
    """Stop when the validation loss no longer falls, and keep the best checkpoint."""
    early_stopping_patience: int | None = None
    """Evaluations without a lower validation loss. Default: 2."""
    early_stopping_min_delta: float | None = None
    """Fall of the validation loss that counts. Default: 0."""
    early_stopping_warmup_evals: int | None = None
    """First evaluations that do not count. Default: 1."""
    random_seed: int | None = None
    suffix: str | None = None
    """Part of the tuned model's name, at most 40 characters. ftwizard appends a mark of the run, by
    which it recognizes the job, and shortens a suffix of more than 26."""
    from_checkpoint: str | None = None
    """An earlier job, or a checkpoint of it, to continue from: ``ft-…`` or ``ft-…:STEP``."""
    wandb: Wandb = Wandb()


class Bedrock(PlatformSettings, frozen=True, kw_only=True):
    """Settings of a job at Amazon Bedrock, under the names of its API."""

    METHOD = "customizationType"
    EPOCHS = "epochCount"
    REGION = "region"
    customizationType: Literal["FINE_TUNING", "REINFORCEMENT_FINE_TUNING"] = "FINE_TUNING"
    """``REINFORCEMENT_FINE_TUNING`` needs prompts with references, and a grader."""
    region: str | None = None
    """Where the job runs, and the bucket is: each model is trained in one region only. Default:
    ``AWS_DEFAULT_REGION``, ``AWS_REGION``, or that of the profile."""
    bucket: str | None = None
    """S3 bucket for the rows and what the job writes, without ``s3://``."""
    prefix: str = "ftwizard"
    """Folder in the bucket."""
    role: str | None = None
    """Name or ARN of the IAM role that Bedrock reads and writes the bucket with."""
    kms_key: str | None = None
    """ARN of a KMS key for the tuned model. Default: a key of AWS."""
    epochCount: int = 2
    batchSize: int | Auto = "auto"
    learningRate: float | Auto = "auto"
    learningRateWarmupSteps: int | Auto = "auto"
    """Nova only: steps over which the learning rate rises."""
    maxPromptLength: int | Auto = "auto"
    """With reinforcement: tokens of a prompt."""
    trainingSamplePerPrompt: int | Auto = "auto"
    """With reinforcement: answers that are sampled for each prompt."""
    inferenceMaxTokens: int | Auto = "auto"
    """With reinforcement: tokens of a sampled answer."""
    reasoningEffort: Literal["low", "medium", "high"] | Auto = "auto"
    """With reinforcement."""
    evalInterval: int | Auto = "auto"
    """With reinforcement: steps between evaluations."""
    grader: str | None = None
    """With reinforcement: ARN of the Lambda function that scores the answers."""
    suffix: str | None = None
    """Beginning of the tuned model's name. ftwizard appends a mark of the run."""


class Mantle(PlatformSettings, frozen=True, kw_only=True):
    """Settings of a job for open weights at Bedrock's OpenAI-compatible address, under its names."""

    TAKES_VALIDATION = False
    method: Literal["reinforcement"] = "reinforcement"
    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"
    grader: str | None = None
    """ARN of the Lambda function that scores the answers."""


class Vertex(PlatformSettings, frozen=True, kw_only=True):
    """Settings of a job at Google Vertex AI, under the names of its SDK."""

    EPOCHS = "epoch_count"
    REGION = "location"
    method: Literal["supervised"] = "supervised"
    project: str | None = None
    """Default: ``GOOGLE_CLOUD_PROJECT``, or that of the credentials."""
    location: str | None = None
    """Region of the job. Default: ``GOOGLE_CLOUD_LOCATION``."""
    bucket: str | None = None
    """Cloud Storage bucket for the rows, without ``gs://``; open models write their weights to it."""
    prefix: str = "ftwizard"
    """Folder in the bucket."""
    epoch_count: int = 3
    """Always sent: Google's own choice can be far higher for few rows."""
    adapter_size: Literal[1, 2, 4, 8, 16, 32] | Auto = "auto"
    """LoRA rank; the sizes depend on the model."""
    learning_rate_multiplier: float | Auto = "auto"
    """Gemini only: factor on Google's own learning rate."""
    learning_rate: float | Auto = "auto"
    """Open models only."""
    batch_size: int | Auto = "auto"
    """Open models only."""
    tuning_mode: Literal["TUNING_MODE_PEFT_ADAPTER", "TUNING_MODE_FULL"] | Auto = "auto"
    """Open models only: an adapter, or all weights. ``auto``: what the model has, an adapter first."""
    export_last_checkpoint_only: bool = True
    """Gemini only: keep the last checkpoint only, not one of each epoch."""
    suffix: str | None = None
    """Beginning of the tuned model's name. ftwizard appends a mark of the run."""


HOSTED_PROVIDERS: dict[HostedProvider, type[PlatformSettings]] = {
    "openai": OpenAI,
    "foundry": Foundry,
    "together": Together,
    "bedrock": Bedrock,
    "mantle": Mantle,
    "vertex": Vertex,
}
"""The platforms, each with its settings, which have the same name in a plan."""


TARGETS: dict[HostedProvider, dict[str, TargetName]] = {
    "openai": {"supervised": "openai-sft", "dpo": "openai-dpo", "reinforcement": "openai-rft"},
    "foundry": {"supervised": "foundry-sft", "dpo": "foundry-dpo", "reinforcement": "foundry-rft"},
    "together": {"sft": "together-sft", "dpo": "together-dpo"},
    "bedrock": {"FINE_TUNING": "bedrock-nova", "REINFORCEMENT_FINE_TUNING": "bedrock-rft"},
    "mantle": {"reinforcement": "bedrock-rft"},
    "vertex": {"supervised": "vertex-gemini"},
}
"""The data rules of each platform's methods; ``get_target`` knows those of a model's own family."""


def get_target(provider: HostedProvider, method: str, model: str) -> TargetName:
    """Return the name of the data rules of a platform's own method for a model."""
    target = TARGETS[provider][method]
    if target == "bedrock-nova" and "llama" in model.lower():
        return "bedrock-llama"
    if target == "vertex-gemini" and model and "gemini" not in model.lower():
        return "vertex-open"
    return target


class Hosted(PlanPart, frozen=True, kw_only=True):
    """What applies to every hosted platform."""

    cancel_on: tuple[Literal["diverged", "nan", "overfit", "no_learning"], ...] = ()
    """Verdicts of the diagnosis that cancel the job. Default: none; they only warn."""
    download: bool = True
    """Download the adapter or the weights, where the platform offers them."""


class Plan(PlanPart, frozen=True, kw_only=True):
    """Everything the user decided."""

    provider: Provider = "local"
    """Where it is trained. ``local``: on this machine, with the Hugging Face libraries; else at that
    platform, by the settings of the same name instead of ``recipe``, or by its own settings there."""
    provider_reason: str = ""
    """Why that provider was chosen, for the record."""
    data: Data
    model: Model
    recipe: Recipe = Recipe()
    where: Where = Where()
    slurm: Slurm = Slurm()
    budget: Budget = Budget()
    samples: Samples = Samples()
    report_to: tuple[Reporter, ...] = ()
    """Where metrics go besides the run folder; API keys come from the environment."""
    allow: tuple[RiskName, ...] = ()
    """Risks that the user allows, by name."""
    gate: Gate = Gate()
    evaluate: Evaluate = Evaluate()
    finish: Finish = Finish()
    hosted: Hosted = Hosted()
    openai: OpenAI = OpenAI()
    foundry: Foundry = Foundry()
    together: Together = Together()
    bedrock: Bedrock = Bedrock()
    mantle: Mantle = Mantle()
    vertex: Vertex = Vertex()

    @property
    def is_hosted(self) -> bool:
        """Return whether it is trained at a platform."""
        return self.provider != "local"

    @property
    def ranks(self) -> int:
        """Return the number of processes that train together, each with rows of its own."""
        return self.where.processes * self.nodes

    @property
    def nodes(self) -> int:
        """Return the number of machines that train together."""
        return self.slurm.nodes if self.where.scheduler == "slurm" else 1

    @property
    def platform_settings(self) -> PlatformSettings:
        """Return the settings of the platform; raise ValueError for a plan of this machine."""
        if self.provider == "local":
            raise ValueError("a plan of this machine has no platform")
        settings: PlatformSettings = getattr(self, self.provider)
        return settings

    @property
    def target(self) -> TargetName:
        """Return the name of the data rules that its provider and method have."""
        if self.provider == "local":
            return LOCAL_TARGETS[self.recipe.objective]
        method = self.platform_settings.own_method
        return get_target(self.provider, method, self.model.name)

    @property
    def takes_validation(self) -> bool:
        """Return whether training uses validation data."""
        return self.provider == "local" or self.platform_settings.TAKES_VALIDATION

    @property
    def has_validation(self) -> bool:
        """Return whether there is validation data."""
        return bool(self.data.files.validation or self.validation_share)

    @property
    def validation_share(self) -> float:
        """Return the share of the training file that is set aside for validation.

        None is where validation rows are not used: the rows are trained on.
        """
        if not self.takes_validation:
            return 0.0
        return _default_share(self.data.split.validation, self.data.files.validation)

    @property
    def test_share(self) -> float:
        """Return the share of the training file that is set aside for the test set."""
        if not self.finish.compare:
            return self.data.split.test or 0.0
        return _default_share(self.data.split.test, self.data.files.test)


def _default_share(share: float | None, file: str | None) -> float:
    if share is not None:
        return share
    return 0.0 if file else 0.1
