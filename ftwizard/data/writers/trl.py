"""TRL's rows of preferences and of labelled answers: lists of messages under three names."""

from __future__ import annotations

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.targets import Target
from ftwizard.data.writers.fit import fitted
from ftwizard.data.writers.losses import Losses
from ftwizard.data.writers.openai import Row, written

_CARRIED = frozenset({"reasoning"})


def preference(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``prompt``, ``chosen`` and ``rejected``, lists of messages; raise RowProblem."""
    found = fitted(example, target, losses, carries=_CARRIED)
    row: Row = {
        "prompt": written(found.messages, target),
        "chosen": written(found.chosen, target),
        "rejected": written(found.rejected, target),
    }
    return row | ({"tools": found.tools} if found.tools else {})


def labelled(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``prompt``, ``completion`` (the last answer) and ``label``; raise RowProblem."""
    found = fitted(example, target, losses, carries=_CARRIED)
    if not found.messages or found.messages[-1].role != "assistant":
        raise RowProblem(
            "last_not_assistant",
            "its last message is no answer, and the label is of an answer",
            "add the answer, or delete the row",
        )
    if not isinstance(example.label, bool):
        raise RowProblem("label", "its label is neither true nor false", "write true or false")
    messages = written(found.messages, target)
    row: Row = {"prompt": messages[:-1], "completion": messages[-1:], "label": example.label}
    return row | ({"tools": found.tools} if found.tools else {})
