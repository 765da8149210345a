"""Settings of hosted platforms for the wizard, under each platform's own names, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from ftwizard.advice.recipe_rules import Setting, SettingChoice
from ftwizard.catalog.hosted_models import Tuning
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.hosted_checks import CHECKS
from ftwizard.plan.platforms import model_limits
from ftwizard.plan.schema import HOSTED_PROVIDERS, OpenAI, Plan
from ftwizard.screens.draft import accounts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.setting_values import NEEDED

_AS_OF = "2026-11"
_SOURCES: dict[HostedProvider, str] = {
    "openai": "OpenAI's API reference", "foundry": "Microsoft's documentation of Foundry",
    "together": "Together's API reference",
    "bedrock": "Amazon's documentation of Bedrock", "mantle": "Amazon's documentation of Bedrock",
    "vertex": "Google's documentation of tuning, and its SDK",
}  # fmt: skip
_YES_NO = (SettingChoice(value=True, name="yes"), SettingChoice(value=False, name="no"))
METHOD_NAMES = {settings.METHOD for settings in HOSTED_PROVIDERS.values()}


class HostedSetting(NamedTuple):
    """A setting, and when it counts."""

    setting: Setting
    applies: Callable[[Plan], bool]


def _always(_: Plan) -> bool:
    return True


def _if_used(name: str) -> Callable[[Plan], bool]:
    """Return whether the plan's method and family of models have a setting."""

    def applies(plan: Plan) -> bool:
        assert plan.provider != "local"
        unused = CHECKS[plan.provider].list_unused(plan, plan.platform_settings)
        return name not in unused

    return applies


def _if_method(method: str) -> Callable[[Plan], bool]:
    def applies(plan: Plan) -> bool:
        return plan.platform_settings.own_method == method

    return applies


def _if_together(name: str) -> Callable[[Plan], bool]:
    return lambda plan: bool(getattr(plan.together, name))


_IS_DPO, _IS_REINFORCEMENT = _if_method("dpo"), _if_method("reinforcement")
_USES_LORA, _STOPS_EARLY = _if_together("lora"), _if_together("early_stopping_enabled")


def _define(
    part: str, name: str, reason: str, *, label: str = "", applies: Callable[[Plan], bool] = _always,
    options: Iterable[tuple[Any, str]] = (), advanced: bool = False, empty: str = "auto",
    source: str = "",
) -> HostedSetting:  # fmt: skip
    """Return a setting; its label is the platform's own name unless one is given."""
    platform = part.partition(".")[0]
    source = source or next((words for id, words in _SOURCES.items() if id == platform), "ftwizard")
    return HostedSetting(
        Setting(
            name=name, part=part, label=label or name, reason=reason, advanced=advanced,  # type: ignore[arg-type]
            options=tuple(SettingChoice(value=value, name=words) for value, words in options),
            empty=empty, source=source, as_of=_AS_OF,
        ),
        applies,
    )  # fmt: skip


def _list_openai(part: HostedProvider) -> list[HostedSetting]:
    """Return the settings of OpenAI's API, which Foundry has as well."""
    return [
        _define(part, "n_epochs", "Passes over the rows, 1 to 50, or auto. Start with 3: more usually "
                "leads to memorization, and each is billed."),
        _define(part, "batch_size", "Rows per step, 1 to 256, or auto: about 0.2% of the rows."),
        _define(part, "learning_rate_multiplier", "Factor on the platform's own learning rate, above 0, "
                "or auto. Lower it if the validation loss rises early."),
        _define(part, "beta", "Penalty for leaving the base model, above 0 and at most 2, or auto. Lower "
                "values follow the preferences more.", applies=_IS_DPO),
        _define(part, "grader", "What scores the answers: a Python file (ftwizard grader new FILE.py), "
                "or a JSON or YAML file with the grader object. It is validated before anything is uploaded.", applies=_IS_REINFORCEMENT, empty="none"),
        _define(part, "reasoning_effort", "How much the model thinks while it is trained.",
                applies=_IS_REINFORCEMENT,
                options=[(name, name) for name in ("default", "low", "medium", "high")]),
        _define(part, "compute_multiplier", "Factor on the compute for exploring answers, above 0, or "
                "auto. It is billed.", applies=_IS_REINFORCEMENT, advanced=True),
        _define(part, "eval_interval", "Steps between evaluations, at least 1, or auto.",
                applies=_IS_REINFORCEMENT, advanced=True),
        _define(part, "eval_samples", "Samples of an evaluation, at least 1, or auto.",
                applies=_IS_REINFORCEMENT, advanced=True),
    ]  # fmt: skip


_COMMON_END = {
    "usd": _define("budget", "usd", "US dollars. A job that is estimated to cost more is not started, and "
                   "one that reaches it is canceled.", label="Budget in $", empty="none"),
    "cancel": _define("hosted", "cancel_on", "What the diagnosis of the loss may do. To cancel a job "
                      "leaves no model, and what was trained is billed.", label="On a bad loss",
                      options=[((), "only warn"), (("diverged", "nan"), "cancel where it diverges"),
                               (("diverged", "nan", "overfit", "no_learning"),
                                "cancel on any bad verdict")], advanced=True),
}  # fmt: skip


def _list_suffix_and_seed(part: HostedProvider, seed: str, limit: int) -> list[HostedSetting]:
    return [
        _define(part, "suffix", f"Part of the tuned model's name, 1 to {limit} characters.",
                empty="none"),
        _define(part, seed, "The same number gives nearly the same job. Default: the platform's "
                "choice.", empty="auto"),
    ]  # fmt: skip


def _wandb(part: HostedProvider) -> HostedSetting:
    return _define(f"{part}.wandb", "project", "Project at Weights & Biases that the platform sends the "
                   "metrics to; your account there must be connected.", label="W&B project",
                   empty="none", advanced=True)  # fmt: skip


_TOGETHER = [
    _define("together", "lora", "yes: an adapter, which is cheaper and can be downloaded and merged; no: "
            "all weights.", options=[(True, "yes"), (False, "no, all weights")]),
    _define("together", "n_epochs", "Passes over the rows, at least 1. Start with 3; each is billed."),
    _define("together", "learning_rate", "Peak learning rate, above 0. Together's default is 1e-5."),
    _define("together", "batch_size", "Rows per step, or max: the most that the model allows."),
    _define("together", "n_evals", "Evaluations on the validation rows during the job; each is billed. "
            "Default: 10."),
    _define("together", "early_stopping_enabled", "End the job once the validation loss no longer falls. "
            "It needs validation rows.", label="early_stopping", options=[(False, "no"), (True, "yes")]),
    _define("together", "early_stopping_patience", "Evaluations without a lower loss before it ends. "
            "Default: 2.", label="patience", applies=_STOPS_EARLY),
    _define("together", "dpo_beta", "Penalty for leaving the base model, above 0.", applies=_IS_DPO),
    _define("together", "early_stopping_min_delta", "By how much the loss must fall to count as lower.",
            label="min_delta", applies=_STOPS_EARLY, advanced=True),
    _define("together", "early_stopping_warmup_evals", "Evaluations before early stopping begins. "
            "Default: 1.", label="warmup_evals", applies=_STOPS_EARLY, advanced=True),
    _define("together", "lora_r", "LoRA rank. Default: the most that the model allows.",
            applies=_USES_LORA, advanced=True),
    _define("together", "lora_alpha", "LoRA scaling. Default: twice the rank.", applies=_USES_LORA,
            advanced=True),
    _define("together", "lora_dropout", "Dropout on the adapter's input, at least 0 and below 1.",
            applies=_USES_LORA, advanced=True),
    _define("together", "train_on_inputs", "Whether prompts count toward the loss. auto: not those of "
            "conversations.", options=[("auto", "auto"), (False, "no"), (True, "yes")],
            applies=_if_method("sft"), advanced=True),
    _define("together", "packing", "Several rows in one sequence. Without it, every row is billed as "
            "max_seq_length tokens.", options=[(True, "yes"), (False, "no")], advanced=True),
    _define("together", "max_seq_length", "Tokens of a sequence. Default: the model's most.",
            advanced=True),
    _define("together", "lr_scheduler_type", "How the learning rate falls.", label="lr_scheduler",
            options=[("cosine", "cosine"), ("linear", "linear")], advanced=True),
    _define("together", "warmup_ratio", "Share of the steps over which the learning rate rises, 0 to 1.",
            advanced=True),
    _define("together", "weight_decay", "At least 0.", advanced=True),
    _define("together", "max_grad_norm", "Gradients are clipped to this norm; 0: not.", advanced=True),
    _define("together", "n_checkpoints", "Checkpoints that Together keeps, at least 1.", advanced=True),
    _define("together", "from_checkpoint", "An earlier job to continue from: its id, or id:step.",
            empty="none", advanced=True),
]  # fmt: skip
_FOUNDRY = [
    _define("foundry", "trainingType", "Where it is trained. GlobalStandard: in any region, for less. "
            "Standard: in the region of your resource. DeveloperTier: on spare capacity, for half of "
            "Global, and may be interrupted. Open models take GlobalStandard only.",
            options=[("GlobalStandard", "GlobalStandard"), ("Standard", "Standard"),
                     ("DeveloperTier", "DeveloperTier")]),
    _define("foundry", "deployment", "A deployment of the tuned model, for the evaluation. It is billed by "
            "the hour; without a name, ftwizard shows the command that makes one.", empty="none",
            advanced=True),
    _define("foundry", "base_deployment", "A deployment of the base model, which the tuned one is "
            "compared with.", empty="none", advanced=True),
]  # fmt: skip
_BEDROCK = [
    _define("bedrock", "region", "Where the job runs. Each model is trained in one region only; the bucket "
            "must be there, too.", empty="that of the profile"),
    _define("bedrock", "bucket", "An S3 bucket of yours, without s3://. The rows go there, and Bedrock "
            "writes its metrics there.", empty=NEEDED),
    _define("bedrock", "role", "Name or ARN of the IAM role with which Bedrock reads and writes the bucket. "
            "Before the upload its policies are checked, and printed where something is missing.",
            empty=NEEDED),
    _define("bedrock", "epochCount", "Passes over the rows. Nova: 1 to 5; Llama: 1 to 10; reinforcement: "
            "1 to 50. Each is billed."),
    _define("bedrock", "learningRate", "Nova: 1e-6 to 1e-4, auto is 1e-5. Llama: 5e-6 to 0.1, auto is "
            "1e-4. Reinforcement: 1e-7 to 1e-3."),
    _define("bedrock", "learningRateWarmupSteps", "Nova: steps over which the learning rate rises, 0 to "
            "100; auto is 10.", applies=_if_used("learningRateWarmupSteps")),
    _define("bedrock", "grader", "ARN of the Lambda function that scores the answers; ftwizard grader lambda "
            "FILE writes one.", applies=_if_used("grader"), empty=NEEDED),
    _define("bedrock", "reasoningEffort", "How much the model thinks while it is trained.",
            applies=_if_used("reasoningEffort"),
            options=[(name, name) for name in ("auto", "low", "medium", "high")]),
    _define("bedrock", "suffix", "Beginning of the tuned model's name: letters and digits, with single - or "
            "_ between them, at most 40.", empty="none"),
]  # fmt: skip
_BEDROCK_ADVANCED = [
    _define("bedrock", "prefix", "Folder in the bucket.", advanced=True),
    _define("bedrock", "batchSize", "Rows per step, 16 to 512.", applies=_if_used("batchSize"),
            advanced=True),
    _define("bedrock", "trainingSamplePerPrompt", "Answers that are sampled for each prompt, 2 to 16.",
            applies=_if_used("trainingSamplePerPrompt"), advanced=True),
    _define("bedrock", "maxPromptLength", "Tokens of a prompt, at least 1.",
            applies=_if_used("maxPromptLength"), advanced=True),
    _define("bedrock", "inferenceMaxTokens", "Tokens of a sampled answer, at least 1.",
            applies=_if_used("inferenceMaxTokens"), advanced=True),
    _define("bedrock", "evalInterval", "Steps between evaluations, 1 to 100.",
            applies=_if_used("evalInterval"), advanced=True),
    _define("bedrock", "kms_key", "ARN of a KMS key of yours for the tuned model.", empty="a key of AWS",
            advanced=True),
]  # fmt: skip
_MANTLE = [
    _define("mantle", "grader", "ARN of the Lambda function that scores the answers; ftwizard grader lambda "
            "FILE writes one.", empty=NEEDED),
    _define("mantle", "n_epochs", "Passes over the prompts, at least 1."),
    _define("mantle", "batch_size", "Prompts per step, at least 1."),
    _define("mantle", "learning_rate_multiplier", "Factor on the platform's own learning rate, above 0."),
]  # fmt: skip
_VERTEX = [
    _define("vertex", "project", "The project that is billed.", empty="that of the login"),
    _define("vertex", "location", "Region of the job. Gemini is tuned in us-central1 and europe-west4, and "
            "then answers in all of the US or of Europe. Open models also take global: Google chooses.",
            empty="from the environment"),
    _define("vertex", "bucket", "A Cloud Storage bucket of yours, without gs://, in or around the location. "
            "The rows go there; open models write their weights there.", empty=NEEDED),
    _define("vertex", "epoch_count", "Passes over the rows, 1 to 100. It is always sent: Google's own choice "
            "for few rows can be 40, and each is billed."),
    _define("vertex", "adapter_size", "LoRA rank. Gemini: 1 to 16; open models: 1, 4, 8, 16 or 32.",
            applies=_if_used("adapter_size"),
            options=[("auto", "auto"), *((size, str(size)) for size in (1, 2, 4, 8, 16, 32))]),
    _define("vertex", "learning_rate_multiplier", "Factor on Google's own learning rate, above 0 and at most "
            "10; auto is 1.", applies=_if_used("learning_rate_multiplier")),
    _define("vertex", "tuning_mode", "An adapter, or all weights. auto: an adapter where the model has one.",
            applies=_if_used("tuning_mode"),
            options=[("auto", "auto"), ("TUNING_MODE_PEFT_ADAPTER", "adapter"),
                     ("TUNING_MODE_FULL", "all weights")]),
    _define("vertex", "learning_rate", "Peak learning rate, above 0. Google advises 2e-4 for adapters, and "
            "1e-5 to 5e-5 for all weights.", applies=_if_used("learning_rate")),
    _define("vertex", "batch_size", "Rows per step, at least 1.", applies=_if_used("batch_size")),
    _define("vertex", "suffix", "Beginning of the tuned model's name, at most 80 characters.",
            empty="none"),
]  # fmt: skip
_VERTEX_ADVANCED = [
    _define("vertex", "prefix", "Folder in the bucket.", advanced=True),
    _define("vertex", "export_last_checkpoint_only", "Gemini. yes: only the model of the last epoch; no: one "
            "of each epoch, up to 10, each with an endpoint.", label="last checkpoint only",
            options=[(True, "yes"), (False, "no")],
            applies=_if_used("export_last_checkpoint_only"), advanced=True),
]  # fmt: skip
_SETTINGS: dict[HostedProvider, list[HostedSetting]] = {
    "openai": [*_list_openai("openai"), *_list_suffix_and_seed("openai", "seed", 64),
               _COMMON_END["usd"], _wandb("openai"), _COMMON_END["cancel"]],
    "foundry": [_FOUNDRY[0], *_list_openai("foundry"), *_list_suffix_and_seed("foundry", "seed", 64),
                _COMMON_END["usd"], *_FOUNDRY[1:], _wandb("foundry"), _COMMON_END["cancel"]],
    "together": [*_TOGETHER[:8], *_list_suffix_and_seed("together", "random_seed", 40),
                 _COMMON_END["usd"], *_TOGETHER[8:], _wandb("together"), _COMMON_END["cancel"]],
    "bedrock": [*_BEDROCK, _COMMON_END["usd"], *_BEDROCK_ADVANCED, _COMMON_END["cancel"]],
    "mantle": [*_MANTLE, _COMMON_END["usd"], _COMMON_END["cancel"]],
    "vertex": [*_VERTEX, _COMMON_END["usd"], *_VERTEX_ADVANCED, _COMMON_END["cancel"]],
}  # fmt: skip


def list_settings(service: HostedProvider) -> list[HostedSetting]:
    """List the settings of a platform in display order: the method, then basic ones, then advanced."""
    name = HOSTED_PROVIDERS[service].METHOD
    options = [(own, own) for own in accounts.OWN_METHODS[service]]
    method = _define(service, name, describe_methods(service), options=options)
    rows = [method, *_SETTINGS[service]]
    return sorted(rows, key=lambda row: row.setting.advanced)


def with_region(draft: Draft) -> Draft:
    """Return a draft with a region that trains its model: the one of the login, else the first."""
    plan = draft.plan
    if plan.provider == "local" or not (name := plan.platform_settings.REGION):
        return draft
    model = model_limits.find_model(plan)
    regions = model.regions if model else ()
    if not regions or getattr(plan.platform_settings, name) in regions:
        return draft
    login = draft.account.login if draft.account else None
    region = login.region if login and login.region in regions else regions[0]
    changed = msgspec.structs.replace(plan.platform_settings, **{name: region})
    return draft.with_plan(**{plan.provider: changed})


def describe_methods(service: HostedProvider) -> str:
    """Describe what each method of a platform learns from."""
    methods: dict[str, Tuning] = accounts.OWN_METHODS[service]
    words = [f"{own} {accounts.METHOD_REASONS[tuning]}" for own, tuning in methods.items()]
    others = " Another method needs other rows, which are checked again." if len(words) > 1 else ""
    return f"{'; '.join(words)}.{others}"


def resolve_grader(plan: Plan, absolute: Callable[[str], str]) -> Plan:
    """Return a plan whose grader file has an absolute path: a run has another working directory."""
    settings = plan.platform_settings
    if (
        not isinstance(settings, OpenAI)
        or not isinstance(settings.grader, str)
        or not settings.grader
    ):
        return plan
    changed = msgspec.structs.replace(settings, grader=absolute(settings.grader))
    return msgspec.structs.replace(plan, **{plan.provider: changed})
