"""Scenarios of the double of OpenAI's fine-tuning service: behavior that a test chooses.

A scenario is a value that JSON can hold (``--scenario FILE.json``, or a change over the control route).
Everything has the default of a service that works.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

KEY = "sk-double-0123456789abcdef"
"""The key that the service accepts."""
Method = Literal["supervised", "dpo", "reinforcement"]
Curve = Literal["learns", "overfits", "flat", "diverges"]
FAULT_ACTIONS = Literal[
    "drop_request", "drop_reply", "truncate", "reply", "reply_after", "hold", "hold_reply", "delay"
]


class ModelInfo(msgspec.Struct, kw_only=True, frozen=True):
    """A model of the service."""

    id: str
    methods: tuple[Method, ...] = ()
    """Methods that it can be tuned by; none: it cannot."""
    shutdown: str | None = None
    """Day of its shutdown; from that day on, it does not exist."""
    alias: str | None = None
    """A shorter name under which it is accepted too."""
    reasons: bool = False
    """A reasoning model: it takes ``max_completion_tokens`` only, and no temperature."""


OPENAI_MODELS = (
    ModelInfo(
        id="gpt-4.1-2025-04-14",
        methods=("supervised", "dpo"),
        shutdown="2027-01-14",
        alias="gpt-4.1",
    ),
    ModelInfo(
        id="gpt-4.1-mini-2025-04-14",
        methods=("supervised", "dpo"),
        shutdown="2027-01-14",
        alias="gpt-4.1-mini",
    ),
    ModelInfo(id="gpt-4o-2024-08-06", methods=("supervised", "dpo"), shutdown="2027-01-14"),
    ModelInfo(
        id="gpt-4o-mini-2024-07-18",
        methods=("supervised", "dpo"),
        shutdown="2027-01-14",
        alias="gpt-4o-mini",
    ),
    ModelInfo(id="gpt-6-luna"),
    ModelInfo(id="omni-moderation-latest"),
)
"""As of November 2026: gpt-4.1-nano and o4-mini have been shut down on October 23."""
REASONING_MODEL = ModelInfo(
    id="o4-mini-2025-04-16", methods=("reinforcement",), alias="o4-mini", reasons=True
)
"""For ``extra_models``, where a test tunes by reinforcement at OpenAI."""
FOUNDRY_MODELS = (
    ModelInfo(id="gpt-4.1-2025-04-14", methods=("supervised", "dpo")),
    ModelInfo(id="gpt-4.1-mini-2025-04-14", methods=("supervised", "dpo")),
    ModelInfo(id="gpt-4.1-nano-2025-04-14", methods=("supervised", "dpo")),
    ModelInfo(id="gpt-4o-2024-08-06", methods=("supervised", "dpo")),
    ModelInfo(id="gpt-4o-mini-2024-07-18", methods=("supervised",)),
    REASONING_MODEL,
    ModelInfo(id="gpt-oss-20b", methods=("supervised",)),
    ModelInfo(id="gpt-5-mini"),
)

MANTLE_MODELS = (
    ModelInfo(id="openai.gpt-oss-20b", methods=("reinforcement",)),
    ModelInfo(id="qwen.qwen3-32b", methods=("reinforcement",)),
    ModelInfo(id="openai.gpt-oss-120b"),
)


class Fault(msgspec.Struct, kw_only=True):
    """Something that goes wrong with a request.

    ``drop_request``: the connection closes before anything is done; ``drop_reply``: after it was done;
    ``truncate``: half of the reply is sent; ``reply``: ``status`` and ``body`` are sent, nothing is
    done; ``reply_after``: it is done, then they are sent; ``hold`` and ``hold_reply``: it waits, before
    or after it is done, until the control route releases it; ``delay``: it takes ``delay_s`` longer.
    """

    on: str = "*"
    """A route as in the OpenAPI document: ``POST /fine_tuning/jobs``; a last ``*`` stands for any rest."""
    action: FAULT_ACTIONS = "reply"
    skip: int = 0
    """Requests of that route to let pass first."""
    times: int | None = 1
    """How many requests it strikes; None: all."""
    status: int = 500
    body: dict[str, Any] | str | None = None
    """None: an error of the service for the status."""
    headers: dict[str, str] = {}
    delay_s: float = 0.0


def limit_rate(on: str = "*", *, retry_after: str = "1", times: int | None = 1) -> Fault:
    """Return a fault: too many requests; ``retry_after`` is the header of that name."""
    return Fault(on=on, status=429, times=times, headers={"Retry-After": retry_after})


def refuse_without_money(on: str = "*", *, times: int | None = None) -> Fault:
    """Return a fault: the account has no money left."""
    message = "You exceeded your current quota, please check your plan and billing details."
    error = {"message": message, "type": "insufficient_quota", "code": "insufficient_quota"}
    return Fault(on=on, status=429, times=times, body={"error": {**error, "param": None}})


class JobFailure(msgspec.Struct, kw_only=True, frozen=True):
    """A failure of all jobs, for the service's own reasons."""

    at: Literal["validation", "running", "moderation"] = "validation"
    """``moderation``: it is trained, and then refused."""
    code: str = "invalid_training_file"
    message: str = "The job failed due to an invalid training file."
    param: str | None = "training_file"
    step: int = 1
    """``running``: the last step that is done."""


QUOTA = JobFailure(
    code="exceeded_quota",
    message="Creating this fine-tuning job would exceed your hard limit, please check your plan and "
    "billing details.",
    param=None,
)
UNSAFE_FILE = JobFailure(
    code="unsafe_file",
    message="The job failed due to an unsafe training file. This training file was blocked because too "
    "many examples were flagged by our moderation for content that violates our usage policies.",
)
UNSAFE_MODEL = JobFailure(
    at="moderation",
    code="moderation_failure",  # The service's own code for this is not documented.
    message="Error while running moderation eval refusals_v3 for snapshot {model}: Error while running "
    "eval for category hate/threatening",
    param=None,
)


class Pace(msgspec.Struct, kw_only=True, frozen=True):
    """How jobs advance."""

    clock: Literal["polls", "time", "manual"] = "polls"
    """``polls``: by each look at the job; ``time``: by seconds; ``manual``: by the control route only."""
    steps: int | None = None
    """``polls``: steps for each look; None: a quarter of the job."""
    validating_s: float = 0.2
    queued_s: float = 0.2
    step_s: float = 0.05
    hold_at: int | None = None
    """A step after which a job stands still until the control route continues it."""
    pause_at: int | None = None
    """A step after which the service itself pauses a job, as Foundry does at a limit of its cost."""


class Answers(msgspec.Struct, kw_only=True, frozen=True):
    """What models answer, besides the rows that a tuned one was trained on."""

    files: tuple[str, ...] = ()
    """JSONL files with further rows, as a test set: models may know their answers."""
    tuned_share: float = 1.0
    """Share of the prompts of all files that a tuned model answers as expected; which, is fixed."""
    base_share: float = 0.0
    """The same for a base model."""
    other: str = "I am not sure."
    """The answer to anything else."""


class Scenario(msgspec.Struct, kw_only=True):
    """All behavior that can be chosen."""

    key: str = KEY
    organization: str = "org-double"
    organization_name: str = "double"
    """It is in the names of tuned models."""
    closed: bool = False
    """The organization may no longer create jobs."""
    max_active_jobs: int | None = None
    models: tuple[ModelInfo, ...] | None = None
    """None: those of OpenAI, Foundry or Bedrock."""
    extra_models: tuple[ModelInfo, ...] = ()
    today: str = "2026-11-28"
    """Models whose day of shutdown has come are gone."""
    clock_offset_s: float = 0.0
    """How much the service's clock is ahead of this machine's."""

    max_file_bytes: int = 512 * 1024 * 1024
    max_part_bytes: int = 64 * 1024 * 1024
    max_upload_bytes: int = 8 * 1024**3
    file_polls: int = 1
    """Looks at a file until it is processed."""
    file_error: str | None = None
    """All files end in an error, with this detail."""
    bom: Literal["needed", "allowed", "refused"] | None = None
    """Byte order mark of files; None: needed at Foundry by its documentation, refused at OpenAI."""

    pace: Pace = Pace()
    failure: JobFailure | None = None
    curve: Curve = "learns"
    filters_jobs: bool = True
    """Whether the list of jobs takes a filter by metadata; if not, it lists all."""
    paused_status: str = "paused"
    odd_status: str | None = None
    """Status that is reported in place of ``running``."""
    odd_events: bool = False
    """Events of an unknown type, and without data."""
    empty_error: Literal["null", "empty", "nones"] | None = None
    """What ``error`` of a job without one is; None: empty at OpenAI, as recorded, and null at Foundry."""
    flagged: tuple[str, ...] = ("flag this",)
    """Words that moderation flags."""

    answers: Answers = Answers()
    faults: list[Fault] = []
    deployments: dict[str, str] = {}
    """Foundry: deployments that exist from the start, by name, with their models."""
