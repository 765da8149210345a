"""Names of row formats and of training targets. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

Format = Literal[
    "openai-chat",
    "sharegpt",
    "alpaca",
    "dolly",
    "question-answer",
    "query-response",
    "multiple-choice",
    "prompt-completion",
    "preference",
    "openai-preference",
    "kto",
    "prompt",
    "vertex",
    "bedrock-converse",
    "bedrock-claude",
    "text",
    "pretokenized",
]
FormatChoice = Literal["auto", Format]
"""``auto``: detected from the rows."""

TargetName = Literal[
    "trl-sft", "trl-dpo", "trl-kto", "trl-grpo",
    "openai-sft", "openai-dpo", "openai-rft",
    "foundry-sft", "foundry-dpo", "foundry-rft",
    "together-sft", "together-dpo",
    "bedrock-nova", "bedrock-llama", "bedrock-claude", "bedrock-rft",
    "vertex-gemini", "vertex-open",
]  # fmt: skip
"""Provider and method to train on."""

FORMAT_NAMES: dict[Format, str] = {
    "openai-chat": "chat messages",
    "sharegpt": "ShareGPT (from, value)",
    "alpaca": "Alpaca (instruction, input, output)",
    "dolly": "Dolly (instruction, context, response)",
    "question-answer": "question and answer",
    "query-response": "query and response",
    "multiple-choice": "multiple choice (query or question, choices, and gold, answer or answerKey)",
    "prompt-completion": "prompt and completion",
    "preference": "preference pairs (chosen, rejected)",
    "openai-preference": "OpenAI preference pairs (preferred_output, non_preferred_output)",
    "kto": "KTO (labeled answers)",
    "prompt": "prompts without completions",
    "vertex": "Vertex AI (contents)",
    "bedrock-converse": "Bedrock Converse (parts without a type)",
    "bedrock-claude": "Claude on Bedrock (separate system prompt)",
    "text": "plain text",
    "pretokenized": "tokens (input_ids)",
}
"""Display names of the formats."""
