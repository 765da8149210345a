"""Rows without messages: text, token ids, one prompt with one answer."""

from __future__ import annotations

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.targets import Target
from ftwizard.data.writers.fit import fitted, require_kind, require_text
from ftwizard.data.writers.losses import Losses
from ftwizard.data.writers.openai import Row


def text(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``text``; raise RowProblem."""
    require_kind(example, target)
    losses.keys([str(key) for key in example.extra], target.words)
    if not isinstance(example.text, str):
        raise RowProblem("missing_text", "it has no text", "write it as text")
    return {"text": example.text}


def tokens(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``input_ids`` and the lists beside them as they are; raise RowProblem."""
    require_kind(example, target)
    losses.keys([str(key) for key in example.extra], target.words)
    if not isinstance(example.tokens, dict) or "input_ids" not in example.tokens:
        raise RowProblem("tokens_type", "it has no input_ids", "give the token ids of the row")
    return dict(example.tokens)


def prompt_completion(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``prompt`` and ``completion`` as text; raise RowProblem for a longer conversation."""
    found = fitted(example, target, losses)
    roles = [turn.role for turn in found.messages]
    if roles != ["user", "assistant"] or found.tools or found.messages[1].calls:
        raise RowProblem(
            "many_turns",
            f"it has {len(roles)} messages, and a row of prompt and completion holds one of the "
            "user's and one answer, without tools",
            "choose the target's format of conversations with --as",
        )
    for turn in found.messages:
        require_text(turn, target)
    asked, answer = found.messages
    if answer.weight == 0:
        raise RowProblem(
            "nothing_to_train", "its only answer has the weight 0", "set it to 1 or delete the row"
        )
    return {"prompt": asked.text, "completion": answer.text}
