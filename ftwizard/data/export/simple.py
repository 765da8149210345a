"""Formats without messages: text, token ids, and prompt with completion."""

from __future__ import annotations

from ftwizard.data.example import Example, RowProblem
from ftwizard.data.export.constraints import fit_to_target, require_kind, require_text
from ftwizard.data.export.conversion_notes import ConversionNotes
from ftwizard.data.export.openai import Row, write_messages
from ftwizard.data.platforms import Target

_SUPPORTED_FIELDS = frozenset({"reasoning"})


def write_text(example: Example, target: Target, notes: ConversionNotes) -> Row:
    """Write ``text``; raise RowProblem."""
    require_kind(example, target)
    notes.note_dropped([str(key) for key in example.extra], target.words)
    if not isinstance(example.text, str):
        raise RowProblem("missing_text", "it has no text", "write it as text")
    return {"text": example.text}


def write_tokens(example: Example, target: Target, notes: ConversionNotes) -> Row:
    """Copy ``input_ids`` and the lists next to them; raise RowProblem."""
    require_kind(example, target)
    notes.note_dropped([str(key) for key in example.extra], target.words)
    if not isinstance(example.tokens, dict) or "input_ids" not in example.tokens:
        raise RowProblem("tokens_type", "it has no input_ids", "add the token ids of the row")
    return dict(example.tokens)


def write_prompt_completion(example: Example, target: Target, notes: ConversionNotes) -> Row:
    """Write ``prompt`` and ``completion`` as text; raise RowProblem for longer conversations."""
    fitted_row = fit_to_target(example, target, notes)
    roles = [turn.role for turn in fitted_row.messages]
    if roles != ["user", "assistant"] or fitted_row.tools or fitted_row.messages[1].calls:
        raise RowProblem(
            "many_turns",
            f"it has {len(roles)} messages, but this format holds one user message and one answer, "
            "without tools",
            "choose the target's conversation format with --as",
        )
    for turn in fitted_row.messages:
        require_text(turn, target)
    question, answer = fitted_row.messages
    if answer.weight == 0:
        raise RowProblem(
            "nothing_to_train", "its only answer has weight 0", "set it to 1 or delete the row"
        )
    return {"prompt": question.text, "completion": answer.text}


def write_preference(example: Example, target: Target, notes: ConversionNotes) -> Row:
    """Write ``prompt``, ``chosen`` and ``rejected`` as lists of messages; raise RowProblem."""
    fitted_row = fit_to_target(example, target, notes, carries=_SUPPORTED_FIELDS)
    row: Row = {
        "prompt": write_messages(fitted_row.messages, target),
        "chosen": write_messages(fitted_row.chosen, target),
        "rejected": write_messages(fitted_row.rejected, target),
    }
    return row | ({"tools": fitted_row.tools} if fitted_row.tools else {})


def write_labeled(example: Example, target: Target, notes: ConversionNotes) -> Row:
    """Write ``prompt``, ``completion`` (the last answer) and ``label``; raise RowProblem."""
    fitted_row = fit_to_target(example, target, notes, carries=_SUPPORTED_FIELDS)
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
