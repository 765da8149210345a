"""Rows of an ejected script: the most readable form that gives the tokens and the mask of the run."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import as_file, files
from typing import Any, NamedTuple

from ftwizard.data.conversation import to_labeled, to_pair
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.objectives import ObjectiveName
from ftwizard.rewards import rows as reward_rows
from ftwizard.rewards.trl_functions import REFERENCE
from ftwizard.runs.ejected_script import RowForm
from ftwizard.train.encoder import EncodedRow, Encoder


class ScriptRow(NamedTuple):
    """A row that is trained on."""

    source: ParsedRow
    encoded: EncodedRow


TOKENIZERS: dict[RowForm, str] = {
    "conversations": "tokenize_conversation",
    "pairs": "tokenize_pair",
    "texts": "tokenize_text",
}
"""Functions of the script that tokenize rows of a form; TRL does where there is none."""


def load_function(name: str) -> Callable[..., Any]:
    """Return a function of the script: ``assets/script`` has its source, which the script contains."""
    with as_file(files("ftwizard").joinpath("assets", "script", f"{name}.py")) as path:
        return runpy.run_path(str(path))[name]  # type: ignore[no-any-return]


def choose_form(
    encoder: Encoder, rows: Sequence[ScriptRow], max_length: int, objective: ObjectiveName
) -> RowForm:
    """Return the form for all rows of a script.

    It is ``tokens`` unless the script's function, or TRL for prompts of reinforcement, gives exactly
    the tokens and labels of each row. Raises FtwizardError for a row that TRL's trainer cannot take.
    """
    if objective == "grpo":
        return "messages" if all(_is_exact_prompt(encoder, row) for row in rows) else "tokens"
    find = _find_form if objective == "sft" else _find_answer_form
    forms = {find(encoder, row.source) for row in rows}
    form = forms.pop() if len(forms) == 1 else "tokens"
    if form in TOKENIZERS and not _is_exact(encoder, rows, form, max_length, objective):
        return "tokens"
    return form


def _find_form(encoder: Encoder, row: ParsedRow) -> RowForm:
    route = encoder.route_of([row])
    if route == "text":
        return "texts"
    if route == "plain":
        return "pairs"
    if route == "prefixes":
        return "conversations"
    if route == "tokens" or row.conversation.tools:
        return "tokens"
    # `datasets` gives all messages the keys of any, and TRL knows no weights.
    is_plain = all(message.keys() == {"role", "content"} for message in row.conversation.messages)
    return "messages" if is_plain else "tokens"


def _find_answer_form(encoder: Encoder, row: ParsedRow) -> RowForm:
    return "pairs" if encoder.route == "plain" else "conversations"


def _is_exact(
    encoder: Encoder,
    rows: Iterable[ScriptRow],
    form: RowForm,
    max_length: int,
    objective: ObjectiveName,
) -> bool:
    tokenize, tokenizer, ends = (
        load_function(TOKENIZERS[form]),
        encoder.tokenizer,
        encoder.special_ids,
    )
    tokenize_answers = load_function("tokenize_answers")
    for row in rows:
        document, expected = to_document(row, form, objective), _to_tokens(row, objective)
        if objective == "sft":
            whole = tokenize(tokenizer, document, ends)
            result = {name: ids[:max_length] for name, ids in whole.items()}
        else:
            try:
                result = tokenize_answers(tokenize, tokenizer, document, ends, max_length)
            except IndexError:  # no token that counts is within the max length
                return False
        if result != expected:
            return False
    return True


def _is_exact_prompt(encoder: Encoder, row: ScriptRow) -> bool:
    """Return whether TRL makes the same tokens of a prompt, with the chat template as it is."""
    if encoder.route == "plain" or row.source.conversation.tools:
        return False
    messages = [{k: m[k] for k in ("role", "content")} for m in row.source.conversation.prompt]
    ids = encoder.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    return list(ids) == row.encoded.input_ids


def _to_tokens(row: ScriptRow, objective: ObjectiveName) -> dict[str, Any]:
    """Return the columns of a row that is tokenized already."""
    encoded = row.encoded
    if objective == "sft":
        return {"input_ids": encoded.input_ids, "labels": encoded.labels}
    names = ("chosen", "rejected") if encoded.rejected else ("completion",)
    columns: dict[str, Any] = {} if encoded.rejected else {"label": encoded.label is True}
    for name, whole in zip(names, encoded.sequences, strict=True):
        counted = [n for n, label in enumerate(whole.labels) if label != -100]
        prompt, answer = (
            whole.input_ids[: counted[0]],
            whole.input_ids[counted[0] : counted[-1] + 1],
        )
        if len(answer) != len(counted) or columns.get("prompt_ids", prompt) != prompt:
            raise FtwizardError(
                f"The row at line {encoded.line} cannot be ejected: TRL's trainer takes one prompt and "
                "answers of which every token counts, and its answer has others in between.",
                "Leave out rows whose answer has several messages, such as calls of tools.",
            )
        columns |= {"prompt_ids": prompt, f"{name}_ids": answer}
    return columns


def to_documents(
    rows: Iterable[ScriptRow], form: RowForm, objective: ObjectiveName
) -> Iterator[dict[str, Any]]:
    """Yield the rows as they stand in the file."""
    return (to_document(row, form, objective) for row in rows)


def to_document(row: ScriptRow, form: RowForm, objective: ObjectiveName) -> dict[str, Any]:
    """Return a row as it stands in the file."""
    conversation = row.source.conversation
    if objective == "grpo":
        return _to_prompt(row, form)
    if form == "tokens":
        return _to_tokens(row, objective)
    if objective != "sft":
        return _to_answers(row, form)
    if form == "texts":
        return {"text": row.source.example.text}
    if form == "pairs":
        prompt, answer = conversation.messages
        return {"prompt": prompt["content"], "completion": answer["content"]}
    tools = {"tools": conversation.tools} if conversation.tools else {}
    return {"messages": conversation.messages, **tools}


def _to_answers(row: ScriptRow, form: RowForm) -> dict[str, Any]:
    """Return a pair or a labeled answer, as messages or as texts."""
    example = row.source.example
    if row.encoded.rejected:
        sides = dict(zip(("chosen", "rejected"), to_pair(example), strict=True))
        start, label = len(example.messages), {}
    else:
        sides = {"completion": to_labeled(example)}
        roles = [message["role"] for message in example.messages]
        start = max((n for n, role in enumerate(roles, 1) if role == "user"), default=0)
        label = {"label": example.label is True}
    whole = next(iter(sides.values()))
    parts = {"prompt": whole.messages[:start]}
    parts |= {name: side.messages[start:] for name, side in sides.items()}
    if form == "pairs":
        return {name: messages[0]["content"] for name, messages in parts.items()} | label
    return {**parts, **label, **({"tools": whole.tools} if whole.tools else {})}


def _to_prompt(row: ScriptRow, form: RowForm) -> dict[str, Any]:
    """Return a prompt with what its reward functions get."""
    prompt = reward_rows.to_row(row.source)
    document = {
        **prompt.columns, "prompt": prompt.prompt, REFERENCE: prompt.reference or None,
    }  # fmt: skip
    return document | ({"prompt_ids": row.encoded.input_ids} if form == "tokens" else {})
