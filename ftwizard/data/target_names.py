"""Names of all training targets, in a module that imports nothing heavy."""

from __future__ import annotations

from typing import Literal

TargetName = Literal[
    "trl-sft", "trl-dpo", "trl-kto",
    "openai-sft", "openai-dpo", "openai-rft",
    "foundry-sft", "foundry-dpo", "foundry-rft",
    "together-sft", "together-dpo",
    "bedrock-nova", "bedrock-llama", "bedrock-claude", "bedrock-rft",
    "vertex-gemini", "vertex-open",
]  # fmt: skip
