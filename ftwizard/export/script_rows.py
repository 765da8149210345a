"""Rows of an ejected script: the most readable form that gives the tokens and the mask of the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
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


# The script contains the source of these functions: they need nothing but their arguments and each other.


def tokenize_conversation(tokenizer: Any, row: dict[str, Any], end_ids: set[int]) -> dict[str, Any]:
    """Return the tokens of a conversation, and labels: -100 where a token does not count."""
    messages = [{k: v for k, v in m.items() if k != "weight"} for m in row["messages"]]

    def render(part: list[dict[str, Any]], **options: Any) -> str:
        return tokenizer.apply_chat_template(  # type: ignore[no-any-return]
            part, tools=row.get("tools"), tokenize=False, **options
        )

    text = tokenizer(render(messages), add_special_tokens=False, return_offsets_mapping=True)
    ids, labels = text["input_ids"], [-100] * len(text["input_ids"])
    for index, message in enumerate(row["messages"]):
        if message["role"] != "assistant" or not message.get("weight", 1):
            continue
        start = len(render(messages[:index], add_generation_prompt=True))
        end = len(render(messages[: index + 1]))
        answer = [n for n, (a, b) in enumerate(text["offset_mapping"]) if b > start and a < end]
        # What the template adds after the end token, usually a line break, does not count.
        last = max((n for n in answer if ids[n] in end_ids), default=len(ids))
        for n in answer:
            labels[n] = ids[n] if n <= last else -100
    return {"input_ids": ids, "labels": labels}


def tokenize_pair(tokenizer: Any, row: dict[str, Any], end_ids: set[int]) -> dict[str, Any]:
    """Return the tokens of a prompt, its completion and the end of text; the prompt has no labels."""
    prompt = tokenizer(row["prompt"])["input_ids"]
    prompt = prompt[:-1] if prompt[-1:] == [tokenizer.eos_token_id] else prompt
    # Tokenized apart from the prompt, so that no token spans both.
    completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
    completion = [*completion, tokenizer.eos_token_id]
    return {"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion}


def tokenize_text(tokenizer: Any, row: dict[str, Any], end_ids: set[int]) -> dict[str, Any]:
    """Return the tokens of a text and the end of text; all but the first count."""
    ids = tokenizer(row["text"])["input_ids"]
    ids = ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id]
    return {"input_ids": ids, "labels": [-100, *ids[1:]]}


def tokenize_answers(
    tokenize: Any, tokenizer: Any, row: dict[str, Any], end_ids: set[int], max_length: int
) -> dict[str, Any]:
    """Return the tokens of a prompt, and of each answer to it up to its end token."""
    columns = {"label": row["label"]} if "label" in row else {}
    for name in [name for name in ("chosen", "rejected", "completion") if name in row]:
        whole = {**row, "messages": row["prompt"] + row[name], "completion": row[name]}
        tokens = tokenize(tokenizer, whole, end_ids)
        ids, labels = tokens["input_ids"][:max_length], tokens["labels"][:max_length]
        counted = [n for n, label in enumerate(labels) if label != -100]
        columns["prompt_ids"] = ids[: counted[0]]
        columns[f"{name}_ids"] = ids[counted[0] : counted[-1] + 1]
    return columns


def add_other_answers(rows: list[dict[str, Any]], batch_size: int) -> None:
    """Add to each row the answer of another row of its batch, which shows how far the model moved."""
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        last = batch[-1] if len(batch) > 1 else rows[start - 1]
        for row, other in zip(batch, [last, *batch[:-1]], strict=True):
            row["KL_completion_ids"] = other["completion_ids"]


_TOKENIZERS: dict[RowForm, Callable[[Any, dict[str, Any], set[int]], dict[str, Any]]] = {
    "conversations": tokenize_conversation,
    "pairs": tokenize_pair,
    "texts": tokenize_text,
}


def name_function(form: RowForm) -> str | None:
    """Return the name of the function that tokenizes rows of a form; None where TRL does."""
    return _TOKENIZERS[form].__name__ if form in _TOKENIZERS else None


def read_source(function: Any) -> str:
    """Return the source of a function or a class, as it stands in the script."""
    source = inspect.getsource(function)
    source = source.replace(
        "(\n    tokenize: Any, tokenizer: Any, row", "(tokenize, tokenizer, row"
    )
    for annotation in (
        ": dict[str, Any]", ": set[int]", ": list[dict[str, Any]]", ": int", ": Any",
        " -> dict[str, Any]", " -> Any", " -> None", " -> str", "  # type: ignore[no-any-return]",
    ):  # fmt: skip
        source = source.replace(annotation, "")
    return source.replace("max_length\n):", "max_length):").rstrip()


def read_functions(form: RowForm, objective: ObjectiveName) -> list[str]:
    """Return the source of the functions that tokenize rows of a form."""
    functions: list[Any] = [_TOKENIZERS[form]] if form in _TOKENIZERS else []
    if functions and objective in ("dpo", "kto"):
        functions.append(tokenize_answers)
    return [read_source(function) for function in functions]


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
    if form in _TOKENIZERS and not _is_exact(encoder, rows, form, max_length, objective):
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
    tokenize, tokenizer, ends = _TOKENIZERS[form], encoder.tokenizer, encoder.special_ids
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
