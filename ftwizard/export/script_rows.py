"""Rows of an ejected script: the most readable form that gives the tokens and the mask of the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from ftwizard.data.reader import ParsedRow
from ftwizard.train.encoder import EncodedRow, Encoder

RowForm = Literal["messages", "conversations", "pairs", "texts", "tokens"]
"""``messages``: TRL makes the mask; ``conversations``, ``pairs``, ``texts``: a function of the script
does; ``tokens``: token ids and labels."""


class ScriptRow(NamedTuple):
    """A row that is trained on."""

    source: ParsedRow
    encoded: EncodedRow


# The script contains the source of these three functions: they need nothing but their arguments.


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


_TOKENIZERS: dict[RowForm, Callable[[Any, dict[str, Any], set[int]], dict[str, Any]]] = {
    "conversations": tokenize_conversation,
    "pairs": tokenize_pair,
    "texts": tokenize_text,
}


def name_function(form: RowForm) -> str | None:
    """Return the name of the function that tokenizes rows of a form; None where TRL does."""
    return _TOKENIZERS[form].__name__ if form in _TOKENIZERS else None


def read_function(form: RowForm) -> str:
    """Return the source of that function, as it stands in the script."""
    source = inspect.getsource(_TOKENIZERS[form])
    return source.replace("  # type: ignore[no-any-return]", "").rstrip()


def choose_form(encoder: Encoder, rows: Sequence[ScriptRow], max_length: int) -> RowForm:
    """Return the form for all rows of a script.

    It is ``tokens`` unless the script's function gives exactly the tokens and labels of each row.
    """
    forms = {_find_form(encoder, row.source) for row in rows}
    form = forms.pop() if len(forms) == 1 else "tokens"
    if form in _TOKENIZERS and not _is_exact(encoder, rows, form, max_length):
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


def _is_exact(encoder: Encoder, rows: Iterable[ScriptRow], form: RowForm, max_length: int) -> bool:
    tokenize = _TOKENIZERS[form]
    for row in rows:
        result = tokenize(encoder.tokenizer, to_document(row, form), encoder.special_ids)
        expected = (row.encoded.input_ids, row.encoded.labels)
        if (result["input_ids"][:max_length], result["labels"][:max_length]) != expected:
            return False
    return True


def to_documents(rows: Iterable[ScriptRow], form: RowForm) -> Iterator[dict[str, Any]]:
    """Yield the rows as they stand in the file."""
    return (to_document(row, form) for row in rows)


def to_document(row: ScriptRow, form: RowForm) -> dict[str, Any]:
    """Return a row as it stands in the file."""
    conversation = row.source.conversation
    if form == "tokens":
        return {"input_ids": row.encoded.input_ids, "labels": row.encoded.labels}
    if form == "texts":
        return {"text": row.source.example.text}
    if form == "pairs":
        prompt, answer = conversation.messages
        return {"prompt": prompt["content"], "completion": answer["content"]}
    tools = {"tools": conversation.tools} if conversation.tools else {}
    return {"messages": conversation.messages, **tools}
