"""TRL formats for preferences (DPO) and labeled answers (KTO)."""

from __future__ import annotations

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.targets import Target
from ftwizard.data.writers.fit import fit_to_target
from ftwizard.data.writers.losses import Losses
from ftwizard.data.writers.openai import Row, write_messages

_SUPPORTED_FIELDS = frozenset({"reasoning"})


def write_preference(example: Example, target: Target, losses: Losses) -> Row:
    """Write ``prompt``, ``chosen`` and ``rejected`` as lists of messages; raise RowProblem."""
    fitted_row = fit_to_target(example, target, losses, carries=_SUPPORTED_FIELDS)
    row: Row = {
        "prompt": write_messages(fitted_row.messages, target),
        "chosen": write_messages(fitted_row.chosen, target),
        "rejected": write_messages(fitted_row.rejected, target),
    }
    return row | ({"tools": fitted_row.tools} if fitted_row.tools else {})


def write_labeled(example: Example, target: Target, losses: Losses) -> Row:
    """Write ``prompt``, ``completion`` (the last answer) and ``label``; raise RowProblem."""
    fitted_row = fit_to_target(example, target, losses, carries=_SUPPORTED_FIELDS)
    if not fitted_row.messages or fitted_row.messages[-1].role != "assistant":
        raise RowProblem(
            "last_not_assistant",
            "its last message is not an answer, so the label applies to nothing",
            "add the answer, or delete the row",
        )
    if not isinstance(example.label, bool):
        raise RowProblem("label", "its label is neither true nor false", "write true or false")
    messages = write_messages(fitted_row.messages, target)
    row: Row = {"prompt": messages[:-1], "completion": messages[-1:], "label": example.label}
    return row | ({"tools": fitted_row.tools} if fitted_row.tools else {})
