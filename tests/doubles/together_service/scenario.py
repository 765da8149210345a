"""What the double of Together's service does, as a test or a JSON file sets it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
QWEN = "Qwen/Qwen3-8B"
KEY = "tgp_v1_test-key"


class Model(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A model that can be tuned, with the limits that the service names."""

    max_rank: int = 64
    default_rank: int = 64
    max_batch_size: int = 32
    max_batch_size_dpo: int = 16
    min_batch_size: int = 8
    target_modules: tuple[str, ...] = (
        "k_proj", "o_proj", "q_proj", "v_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip
    full: bool = True
    max_epochs: int = 20
    max_evals: int = 100
    max_checkpoints: int = 10
    min_learning_rate: float = 1e-8
    max_learning_rate: float = 0.01
    max_seq_length_sft: int = 8192
    max_seq_length_dpo: int = 4096
    usd_per_million: float = 0.48
    serverless: bool = False
    """Whether the base model answers without a deployment."""
    deployable: bool = True


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What happens to the next requests that match."""

    method: str = ""
    """Empty: any."""
    path: str = ""
    """Regular expression, which is searched in the path."""
    times: int = 1
    skip: int = 0
    """Matching requests that pass first."""
    status: int | None = None
    """Answer with this instead of acting."""
    acts: bool = False
    """Act first, then answer with ``status``."""
    hold: Literal["", "before", "after"] = ""
    """Wait, before or after acting, until the control route lets requests go on."""
    body: Any = None
    retry_after: float | None = None
    drop: Literal["", "before", "after", "half"] = ""
    """Close the connection without an answer, before or after acting; ``half``: within the answer."""


class Scenario(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    keys: tuple[str, ...] = (KEY,)
    forbidden: bool = False
    """403 for everything that creates."""
    models: dict[str, Model] = msgspec.field(
        default_factory=lambda: {LLAMA: Model(), QWEN: Model(serverless=True)}
    )
    balance_usd: float = 100.0
    refuses_unfunded: bool = False
    """402 for a job above the balance; else it is created and ends with ``billing_limit``."""
    validation_polls: int = 1
    """Looks at a file before it is validated."""
    validation_error: str | None = None
    """Fail each file with this, instead of looking at its rows."""
    validation_status: Literal["INVALID_FORMAT", "FAILED"] = "INVALID_FORMAT"
    advance: Literal["poll", "time"] = "poll"
    """Whether a job advances at each look at it, or each ``state_s`` seconds."""
    state_s: float = 0.2
    running_states: int = 3
    """Looks or ``state_s`` that the training takes."""
    end: str = "completed"
    """Last status: ``completed``, ``error``, ``user_error``, ``cancelled``."""
    running_status: str = "running"
    """Word for the time of the training, to be one that no client knows."""
    error_message: str = "Training failed: an internal error occurred."
    error_type: str = "job_error"
    fails_after: float = 0.5
    """Share of the steps that a failing job does."""
    cancel_polls: int = 1
    """Looks at a job between ``cancel_requested`` and ``cancelled``."""
    steps: int = 20
    losses: list[float | None] = []
    """Training losses by step. Default: falling ones."""
    eval_losses: list[float | None] = []
    """Losses of the evaluations. Default: falling ones."""
    extra_events: list[dict[str, Any]] = []
    """Events of the job besides the usual ones, such as those of a type that no client knows."""
    newest_first: bool = False
    """Order of events."""
    has_suffix: bool = True
    """Whether jobs are listed with their suffix and the name of their model."""
    merges_lora: bool = True
    adapter: str | None = None
    """Folder that a finished LoRA job hands out."""
    model_folder: str | None = None
    """Folder that a finished full job hands out."""
    compression: Literal["zst", "gz", "none"] = "zst"
    archive: str | None = None
    """A file to hand out instead of packing a folder."""
    redirects_download: bool = True
    serves_tuned: bool = False
    """Whether tuned models answer without a deployment."""
    answers: dict[str, str] = {}
    """Answers of tuned models by the last user message, besides those of the training file."""
    base_answers: dict[str, str] = {}
    base_answer: str = "I am not sure."
    deployment_polls: int = 1
    """Looks at a deployment before it is ready, and before it has stopped."""
    deployment_failure: str | None = None
    cents_per_hour: int = 399
    page_size: int = 50
    has_v2: bool = True
    """Whether it has the routes of version 2: catalog, registry and dedicated endpoints."""
    faults: list[Fault] = []
