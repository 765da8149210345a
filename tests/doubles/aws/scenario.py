"""Scenarios of the double of AWS: behavior that a test chooses, as a value that JSON can hold."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tests.doubles.openai_service.scenario import Answers, Curve

ACCOUNT = "123456789012"
KEY_ID = "AKIADOUBLE0123456789"
KEY = "double/0123456789abcdefghijklmnopqrstuvw"
"""The secret key that the service accepts, of ``KEY_ID``."""
USER = f"arn:aws:iam::{ACCOUNT}:user/double"
ROLE = "double-bedrock"
EAST, WEST = "us-east-1", "us-west-2"
BUCKETS = {"ftwizard-double": EAST, "ftwizard-double-west": WEST}
"""Buckets that exist from the start, with their regions."""
NOVA_BOUNDS: dict[str, tuple[float, float]] = {
    "epochCount": (1, 5), "learningRate": (1e-6, 1e-4), "learningRateWarmupSteps": (0, 100),
}  # fmt: skip
LLAMA_BOUNDS: dict[str, tuple[float, float]] = {
    "epochCount": (1, 10),
    "learningRate": (5e-6, 0.1),
    "batchSize": (1, 1),
}
FAULT_ACTIONS = Literal[
    "drop_request", "drop_reply", "truncate", "reply", "reply_after", "hold", "hold_reply", "delay"
]


class BedrockModel(msgspec.Struct, kw_only=True, frozen=True):
    """A foundation model."""

    id: str
    name: str
    context: str = ""
    """End of the name that it is tuned by, as in ``:128k``; empty: it cannot be tuned."""
    region: str = EAST
    """The only region where it is tuned."""
    methods: tuple[str, ...] = ("FINE_TUNING",)
    deploys: bool = True
    """Whether a tuned one answers on demand."""
    on_demand: bool = True
    """Whether it answers under its own name, and not by an inference profile only."""
    profiles: tuple[str, ...] = ()
    bounds: dict[str, tuple[float, float]] = msgspec.field(default_factory=NOVA_BOUNDS.copy)
    """Lowest and highest value of each hyperparameter."""
    min_rows: int = 8
    max_rows: int = 20_000
    sums_rows: bool = False
    """Whether the bounds are those of both files together."""
    max_tokens: int = 32_000
    takes_pairs: bool = False
    """Whether rows may be ``prompt`` and ``completion``."""
    legacy: bool = False
    end_of_life: str | None = None
    """Day of its end, as in 2027-01-31."""

    @property
    def tuning_id(self) -> str:
        return self.id + self.context

    @property
    def is_nova(self) -> bool:
        return self.id.startswith("amazon.nova")


def _make_nova(name: str, context: str, **fields: Any) -> BedrockModel:
    id_ = f"amazon.nova-{name.lower().replace(' ', '-')}-v1:0"
    fields = {"profiles": (f"us.{id_}",), **fields}
    return BedrockModel(id=id_, name=f"Nova {name}", context=context, **fields)


def _make_llama(version: str, billions: int, **fields: Any) -> BedrockModel:
    id_ = f"meta.llama{version.replace('.', '-')}-{billions}b-instruct-v1:0"
    fields = {"deploys": False, **fields}
    return BedrockModel(
        id=id_, name=f"Llama {version} {billions}B Instruct", context=":128k", region=WEST,
        profiles=(f"us.{id_}",), bounds=LLAMA_BOUNDS, min_rows=100, max_rows=10_000, sums_rows=True,
        max_tokens=fields.pop("max_tokens", 16_000), takes_pairs=True, **fields,
    )  # fmt: skip


MODELS = (
    _make_nova("Micro", ":128k"),
    _make_nova("Lite", ":300k"),
    _make_nova("Pro", ":300k"),
    _make_nova(
        "2 Lite", ":256k", on_demand=False,
        methods=("FINE_TUNING", "REINFORCEMENT_FINE_TUNING"),
        profiles=("us.amazon.nova-2-lite-v1:0", "global.amazon.nova-2-lite-v1:0"),
    ),
    _make_llama("3.1", 8),
    _make_llama("3.1", 70),
    _make_llama("3.2", 1, on_demand=False),
    _make_llama("3.2", 3, on_demand=False),
    _make_llama("3.2", 11, on_demand=False),
    _make_llama("3.2", 90, on_demand=False, max_tokens=10_000),
    _make_llama("3.3", 70, on_demand=False, deploys=True),
    BedrockModel(id="amazon.nova-canvas-v1:0", name="Nova Canvas", methods=()),
)  # fmt: skip
"""As of November 2026, with the limits of the service's documentation."""


class AwsFault(msgspec.Struct, kw_only=True):
    """Something that goes wrong with a request.

    The actions are those of the double of OpenAI's service: ``drop_request``, ``drop_reply``,
    ``truncate``, ``reply`` (nothing is done), ``reply_after``, ``hold``, ``hold_reply``, ``delay``.
    """

    on: str = "*"
    """A call, as in ``create_job``; a last ``*`` stands for any rest."""
    action: FAULT_ACTIONS = "reply"
    skip: int = 0
    """Requests of that call to let pass first."""
    times: int | None = 1
    """How many requests it strikes; None: all."""
    status: int = 500
    code: str = ""
    """Empty: the service's own for the status."""
    message: str = ""
    headers: dict[str, str] = {}
    delay_s: float = 0.0


class AwsFunction(msgspec.Struct, kw_only=True, frozen=True):
    """A Lambda function: a file of Python that runs in the double's process."""

    path: str
    handler: str = "lambda_handler"
    timeout_s: int = 3
    region: str = EAST
    runtime: str = "python3.13"
    state: str = "Active"


class AwsFailure(msgspec.Struct, kw_only=True, frozen=True):
    """A failure of all jobs, for the service's own reasons."""

    at: Literal["validation", "training"] = "validation"
    message: str = "Encountered an internal error when processing the request."


class AwsScenario(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All behavior that can be chosen."""

    key_id: str = KEY_ID
    key: str = KEY
    session_token: str | None = None
    """A token that requests must have, as those with temporary keys do."""
    expired: bool = False
    """The keys have expired."""
    clock_offset_s: float = 0.0
    """How much the service's clock is ahead of this machine's."""
    denied: tuple[str, ...] = ()
    """Actions that the caller may not take, as in ``iam:GetRole``."""
    today: str = "2026-11-29"

    models: tuple[BedrockModel, ...] = MODELS
    no_access: tuple[str, ...] = ()
    """Models that the account has no access to."""
    buckets: dict[str, str] = msgspec.field(default_factory=BUCKETS.copy)
    foreign_buckets: dict[str, str] = {}
    """Buckets of other accounts, which let this account in, with their accounts."""
    role_actions: tuple[str, ...] = (
        "s3:GetObject", "s3:PutObject", "s3:ListBucket", "lambda:InvokeFunction",
    )  # fmt: skip
    """What the ready role may do."""
    role_service: str = "bedrock.amazonaws.com"
    """The service that the ready role trusts."""
    functions: dict[str, AwsFunction] = {}

    clock: Literal["polls", "time", "manual"] = "polls"
    """Whether jobs advance by each look at one, by time, or by the control route only."""
    state_s: float = 0.1
    """``time``: seconds that stand for a look."""
    validating_looks: int = 1
    queued_looks: int = 1
    running_looks: int = 3
    stopping_looks: int = 1
    has_details: bool = True
    """Whether jobs have ``statusDetails``."""
    odd_status: str | None = None
    """A status in place of ``InProgress``, which no client knows."""
    failure: AwsFailure | None = None
    file_error: str | None = None
    """All training files fail their validation, with this message."""
    curve: Curve = "learns"
    steps: int | None = None
    """None: as many as the rows and epochs make, up to 60."""
    writes_metrics: bool = True
    nested_validation: bool = False
    """Whether the metrics of the validation are in one more folder, as in some jobs."""
    max_active_jobs: int = 10

    deployment_looks: int = 1
    deployment_failure: str | None = None
    max_deployments: int = 10
    max_new_deployments: int = 2
    requests_per_minute: int | None = None
    """Of each deployment."""
    stream_error: str | None = None
    """An exception within each stream of an answer, as in ``throttlingException``."""
    provisioned: tuple[dict[str, Any], ...] = ()
    """Provisioned throughputs: summaries as the service lists them."""
    prices: dict[str, float] = {}
    """Dollars by usage type, for the price list."""

    answers: Answers = Answers()
    faults: list[AwsFault] = []
