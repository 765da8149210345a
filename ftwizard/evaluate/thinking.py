"""Models that think before they answer: how a chat template begins it, and answers that never came."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from ftwizard.runs.evaluation import ItemAnswer, ItemScore
from ftwizard.text import format_count
from ftwizard.train.encoder import Encoder, EncodingError

ThinkingMode = Literal["none", "off", "on"]
OPENING, CLOSING = "<think>", "</think>"
SWITCH: dict[str, Any] = {"enable_thinking": False}
"""The variable of the templates of Qwen3, SmolLM3, GLM and others."""
MAX_THINKING_TOKENS = 1024
"""Tokens of an answer besides its limit where thinking cannot be turned off."""
_PROMPT: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]


class Thinking(NamedTuple):
    """How the prompts of an arm handle thinking."""

    mode: ThinkingMode
    """``off``: the template would let the model think, and has a switch, which is used; ``on``: it lets
    the model think, and has none that leaves the prompt as it is trained."""
    options: Mapping[str, Any] = MappingProxyType({})
    """For the template."""
    is_open: bool = False
    """Whether the prompt itself begins the thinking, so that an answer does not."""


def read_thinking(encoder: Encoder) -> Thinking:
    """Return how prompts are to be rendered, so that answers fit into their limits."""
    if encoder.route == "plain":
        return Thinking("none")
    try:
        usual = encoder.render_prompt(_PROMPT)
        switched = encoder.render_prompt(_PROMPT, **SWITCH)
    except EncodingError:
        return Thinking("none")
    is_open = usual.rstrip().endswith(OPENING)
    if switched == usual:
        return Thinking("on", is_open=True) if is_open else Thinking("none")
    # An empty block after the prompt is what is trained; other words in it (GLM's) are not.
    if switched.startswith(usual.rstrip().removesuffix(OPENING).rstrip()):
        return Thinking("off", SWITCH)
    return Thinking("on", is_open=is_open)


def describe_mode(mode: ThinkingMode) -> str:
    """Describe what was done about thinking; empty if nothing."""
    if mode == "off":
        return "turned off for all models, by the chat template's enable_thinking"
    if mode == "on":
        return f"up to {MAX_THINKING_TOKENS:,} tokens before each answer, and not scored"
    return ""


def is_unfinished(answer: ItemAnswer) -> bool:
    """Return whether an answer is nothing but thinking; finished thinking was removed from it."""
    return answer.text.lstrip().startswith(OPENING)


def check_finished(answer: ItemAnswer) -> ItemAnswer:
    """Return an answer that is nothing but thinking as one that cannot be scored."""
    if not is_unfinished(answer):
        return answer
    tokens = format_count(answer.tokens, "token")
    note = f"It is only thinking, {tokens} long: there is no answer."
    return replace(answer, score=ItemScore(note=note))
