"""Checks of the settings of Amazon Bedrock."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftwizard.plan.platforms.model_limits import find_bound_problems, find_region_problems
from ftwizard.plan.platforms.rules import AT_LEAST_1, PlatformChecks, Problem, Rules
from ftwizard.plan.schema import Bedrock, Mantle, Plan

MAX_NAME = 63
"""Characters of a custom model's name."""
MAX_SUFFIX = 40
"""ftwizard appends a mark of the run."""
REINFORCEMENT = ("maxPromptLength", "trainingSamplePerPrompt", "inferenceMaxTokens", "reasoningEffort", "evalInterval", "grader")  # fmt: skip
SUPERVISED = ("learningRateWarmupSteps",)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_NAME = re.compile(r"[0-9a-zA-Z](?:[_-]?[0-9a-zA-Z])*\Z")
_LAMBDA = re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[a-zA-Z0-9_-]+(?::[a-zA-Z0-9$_-]+)?\Z")  # fmt: skip
_PREFIX = re.compile(r"[-!_*'().a-zA-Z0-9/]*\Z")
_REINFORCED_BOUNDS = {"batchSize": (16, 512), "learningRate": (1e-7, 1e-3)}
_RECIPE_NAMES = {
    "epochs": "epochCount", "batch_size": "batchSize", "learning_rate": "learningRate",
    "warmup": "learningRateWarmupSteps",
}  # fmt: skip
_RULES: Rules = (
    ("epochCount", lambda value: 1 <= value <= 50, "It must be 1 to 50; a model allows fewer."),
    ("batchSize", lambda value: 1 <= value <= 512, "It must be 1 to 512, or auto."),
    ("learningRate", lambda value: 1e-7 <= value <= 0.1, "It must be 1e-7 to 0.1, or auto."),
    ("learningRateWarmupSteps", lambda value: 0 <= value <= 100, "It must be 0 to 100, or auto."),
    ("maxPromptLength inferenceMaxTokens", *AT_LEAST_1),
    ("trainingSamplePerPrompt", lambda value: 2 <= value <= 16, "It must be 2 to 16, or auto."),
    ("evalInterval", lambda value: 1 <= value <= 100, "It must be 1 to 100, or auto."),
)
_MANTLE_RULES: Rules = (
    ("n_epochs batch_size", *AT_LEAST_1),
    ("learning_rate_multiplier", lambda value: value > 0, "It must be above 0, or auto."),
)


def _find_problems(settings: Bedrock) -> Iterator[Problem]:
    if not settings.bucket:
        hint = "Name an S3 bucket of yours in the region of the job, without s3://."
        yield "bucket", "is missing: the rows and the job's metrics go there.", hint
    elif not _BUCKET.match(settings.bucket):
        hint = "Give its name alone, without s3:// and folder: prefix has the folder."
        yield "bucket", "is not the name of an S3 bucket.", hint
    if not _PREFIX.match(settings.prefix):
        yield "prefix", "has characters that no job takes.", "Use letters, digits, -, _, . and /."
    if not settings.role:
        hint = "Name an IAM role that Bedrock may assume and that may read and write the bucket."
        yield "role", "is missing: Bedrock reads the rows with it.", hint
    is_reinforced = settings.customizationType == "REINFORCEMENT_FINE_TUNING"
    default = Bedrock()
    for name in SUPERVISED if is_reinforced else REINFORCEMENT:
        if getattr(settings, name) != getattr(default, name):
            problem = f"is set, but customizationType is {settings.customizationType}."
            other = "FINE_TUNING" if is_reinforced else "REINFORCEMENT_FINE_TUNING"
            yield name, problem, f"Remove it, or set customizationType to {other}."
    if is_reinforced:
        yield from _find_grader_problems(settings.grader)
    if settings.suffix is not None and not _NAME.match(settings.suffix):
        hint = "Use letters and digits, with single - or _ between them."
        yield "suffix", "is not a name that Bedrock takes.", hint


def _find_grader_problems(grader: str | None) -> Iterator[Problem]:
    hint = (
        "Name the ARN of a Lambda function: arn:aws:lambda:REGION:ACCOUNT:function:NAME"
        " (ftwizard grader lambda FILE writes one)."
    )
    if not grader:
        yield "grader", "is missing: reinforcement needs one to score the answers.", hint
    elif not _LAMBDA.match(grader):
        yield "grader", "is not the ARN of a Lambda function.", hint


def _find_mantle_problems(settings: Mantle) -> Iterator[Problem]:
    yield from _find_grader_problems(settings.grader)


def _find_file_problems(plan: Plan, settings: Bedrock) -> Iterator[Problem]:
    yield from find_region_problems(plan, settings)
    if settings.customizationType == "REINFORCEMENT_FINE_TUNING":
        for name, (low, high) in _REINFORCED_BOUNDS.items():
            value = getattr(settings, name)
            if isinstance(value, int | float) and not low <= value <= high:
                bounds = f"{low:g} to {high:g}"
                yield (
                    name,
                    f"is {value:g}, but reinforcement takes {bounds}.",
                    f"Set it to {bounds}.",
                )
        return
    yield from find_bound_problems(plan, settings)
    if plan.target == "bedrock-llama" and settings.learningRateWarmupSteps != "auto":
        yield "learningRateWarmupSteps", "is set, but it is for Nova only.", "Remove it."


def _list_unused(plan: Plan, settings: Bedrock) -> list[str]:
    if settings.customizationType == "REINFORCEMENT_FINE_TUNING":
        return [*SUPERVISED]
    # Every model that is not reinforced has batches of one row.
    own = [] if plan.target == "bedrock-nova" else ["learningRateWarmupSteps"]
    return [*REINFORCEMENT, "batchSize", *own]


CHECKS = PlatformChecks(
    rules=_RULES, recipe_names=_RECIPE_NAMES, max_suffix=MAX_SUFFIX, list_unused=_list_unused,
    find_problems=_find_problems, find_file_problems=_find_file_problems,
)  # fmt: skip
MANTLE_CHECKS = PlatformChecks(
    rules=_MANTLE_RULES, max_suffix=0, list_unused=lambda plan, settings: [],
    recipe_names={"epochs": "n_epochs", "batch_size": "batch_size",
                  "learning_rate": "learning_rate_multiplier"},
    find_problems=_find_mantle_problems, find_file_problems=lambda plan, settings: iter(()),
)  # fmt: skip
