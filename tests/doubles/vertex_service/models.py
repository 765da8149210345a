"""Models of the service: what can be tuned, where, and how."""

from __future__ import annotations

from typing import Literal

import msgspec

GEMINI_REGIONS = ("us-central1", "europe-west4")
OPEN_REGIONS = (
    "global", "us-central1", "europe-west4", "us-west1", "us-east5", "asia-southeast1",
    "asia-southeast2",
)  # fmt: skip
LOCATIONS = frozenset(
    {*OPEN_REGIONS, "us", "eu", "us-east1", "us-east4", "us-south1", "us-west4", "europe-west1",
     "europe-west2", "europe-west3", "europe-west9", "asia-northeast1"}
)  # fmt: skip
MULTI_REGIONS = {"us-central1": "us", "europe-west4": "eu"}
Mode = Literal["TUNING_MODE_PEFT_ADAPTER", "TUNING_MODE_FULL"]
PEFT: Mode = "TUNING_MODE_PEFT_ADAPTER"
FULL: Mode = "TUNING_MODE_FULL"
SIZES = {
    1: "ADAPTER_SIZE_ONE", 2: "ADAPTER_SIZE_TWO", 4: "ADAPTER_SIZE_FOUR", 8: "ADAPTER_SIZE_EIGHT",
    16: "ADAPTER_SIZE_SIXTEEN", 32: "ADAPTER_SIZE_THIRTY_TWO",
}  # fmt: skip


class VertexModel(msgspec.Struct, kw_only=True, frozen=True):
    """A model of the service."""

    id: str
    methods: tuple[Literal["supervised", "reinforcement"], ...] = ()
    """Methods that it can be tuned by; none: it cannot."""
    modes: tuple[Mode, ...] = ()
    """Of an open model."""
    regions: tuple[str, ...] = ()
    """Locations of its jobs."""
    adapter_sizes: tuple[int, ...] = ()
    default_size: int = 4
    asked_at: tuple[str, ...] = ()
    """Locations where the model itself answers; none: it does not."""
    thoughts: int = 0
    """Tokens that it thinks unless a request lowers it."""

    @property
    def is_open(self) -> bool:
        return "@" in self.id


def _gemini(
    id: str, *methods: Literal["supervised", "reinforcement"], thoughts: int
) -> VertexModel:
    return VertexModel(
        id=id, methods=methods, regions=GEMINI_REGIONS if methods else (),
        adapter_sizes=(1, 2, 4, 8, 16), default_size=2, asked_at=("global", "us", "eu"),
        thoughts=thoughts,
    )  # fmt: skip


def _open(id: str, *modes: Mode, regions: tuple[str, ...] = OPEN_REGIONS) -> VertexModel:
    return VertexModel(
        id=id, methods=("supervised",), modes=modes, regions=regions,
        adapter_sizes=(1, 4, 8, 16, 32) if PEFT in modes else (), default_size=16,
    )  # fmt: skip


MODELS = (
    _gemini("gemini-3.5-flash", "supervised", "reinforcement", thoughts=96),
    _gemini("gemini-3.5-flash-lite", "supervised", thoughts=0),
    _gemini("gemini-3.1-flash-lite", "supervised", thoughts=0),
    _gemini("gemini-3.6-flash", thoughts=96),
    _open("google/gemma4@gemma-4-e2b-it", PEFT),
    _open("google/gemma4@gemma-4-e4b-it", PEFT),
    _open("google/gemma4@gemma-4-26b-a4b-it", PEFT),
    _open("google/gemma4@gemma-4-31b-it", PEFT),
    _open("google/gemma3@gemma-3-1b-it", FULL),
    _open("google/gemma3@gemma-3-4b-it", FULL),
    _open("google/gemma3@gemma-3-12b-it", FULL),
    _open("google/gemma3@gemma-3-27b-it", PEFT, FULL),
    _open("google/medgemma@medgemma-1.5-4b-it", FULL),
    _open("qwen/qwen3@qwen3-4b", FULL),
    _open("qwen/qwen3@qwen3-8b", FULL),
    _open("qwen/qwen3@qwen3-14b", FULL),
    _open("qwen/qwen3@qwen3-32b", PEFT, FULL),
    _open("qwen/qwen3-5@qwen3.5-9b", FULL),
    _open("qwen/qwen3-6@qwen3.6-27b", PEFT),
    _open("qwen/qwen3-6@qwen3.6-35b-a3b", PEFT),
    _open("meta/llama3_1@llama-3.1-8b", PEFT, FULL),
    _open("meta/llama3_1@llama-3.1-8b-instruct", PEFT, FULL),
    _open("meta/llama3-2@llama-3.2-1b-instruct", FULL),
    _open("meta/llama3-2@llama-3.2-3b-instruct", FULL),
    _open("meta/llama3-3@llama-3.3-70b-instruct", PEFT, FULL),
    _open("meta/llama4@llama-4-scout-17b-16e-instruct", PEFT),
    _open("zai-org/glm-4.7-flash@glm-4.7-flash", PEFT, regions=OPEN_REGIONS[1:]),
)
"""As of November 2026: Gemini 2.5 has been retired on October 20. Which open models refuse ``global``
is not documented; the last stands for them here."""
