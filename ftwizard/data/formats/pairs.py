"""Rows with one prompt field and one answer field: Alpaca, Dolly, question-answer and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftwizard.data.example import Example, Message, RowProblem
from ftwizard.data.formats.chat import parse_messages, to_chat_example
from ftwizard.data.formats.fields import (
    add_system_prompt,
    exchange,
    get_text,
    parse_history,
    require_key,
    require_object,
)

_CONTEXT_FIELDS = frozenset(("system", "history", "tools"))


def read_pair(
    row: Any, *, code: str, asks: Sequence[str], context: str | None, answers: Sequence[str]
) -> Example:
    """Read a row with a prompt and an answer, each under the first of its names that the row has.

    The prompt is followed by a blank line and the ``context`` field. ``system`` and ``history`` are
    optional; history is a list of earlier [user, assistant] pairs, which are trained on too (as in
    LLaMA-Factory's data/README). Raises RowProblem: ``code`` if the prompt is missing.
    """
    fields = require_object(row)
    ask = require_key(fields, asks, code, f"add the prompt as {asks[0]}")
    answer = require_key(fields, answers, "missing_answer", f"add the answer as {answers[0]}")
    question = join_prompt(fields, ask, context)
    used = {ask, answer} if context is None else {ask, context, answer}
    return _finished(exchange(question, get_text(fields, answer)), fields, used)


def read_multiple_choice(row: Any) -> Example:
    """Read ``query``, ``choices`` and ``gold``, the 0-based index of the right choice.

    The prompt is the query and each choice on its own line; the right choice is the answer.
    """
    fields = require_object(row)
    require_key(fields, ("query",), "missing_prompt", "add the query")
    query, choices, gold = get_text(fields, "query"), fields.get("choices"), fields.get("gold")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        message = "choices is not a list of texts"
        raise RowProblem("choice.choices", message, "list the choices as texts")
    if type(gold) is not int or not 0 <= gold < len(choices):
        raise RowProblem(
            "choice.gold",
            f"gold is not the index of one of the {len(choices):,} choices",
            f"write the index of the right one, 0 to {max(len(choices) - 1, 0):,}",
        )
    question = "\n".join((query.removesuffix("\n"), *choices))
    return _finished(exchange(question, choices[gold]), fields, {"query", "choices", "gold"})


def read_prompt_completion(row: Any) -> Example:
    """Read ``prompt`` and ``completion``, both text or both lists of messages.

    As in TRL, only the completion is trained on: answers within the prompt get weight 0.
    """
    fields = require_object(row)
    for key, code in (("prompt", "missing_prompt"), ("completion", "missing_answer")):
        require_key(fields, (key,), code, "add prompt and completion")
    prompt, completion = fields["prompt"], fields["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        before = [_mask(m) for m in parse_messages(prompt, "prompt", "prompt message")]
        after = parse_messages(completion, "completion", "completion message")
        if all(message["role"] != "assistant" for message in after):
            raise RowProblem("no_assistant", "completion has no answer", "add the answer to it")
    else:
        both = exchange(get_text(fields, "prompt"), get_text(fields, "completion"))
        before, after = both[:1], both[1:]
    return to_chat_example([*before, *after], fields, ("prompt", "completion"))


def join_prompt(fields: Message, ask: str, more: str | None) -> str:
    """Return the user's text: two fields joined by a blank line; blank fields are skipped.

    Raises RowProblem.
    """
    question = get_text(fields, ask)
    context = get_text(fields, more) if more is not None else ""
    if not context.strip():
        return question
    return f"{question}\n\n{context}" if question.strip() else context


def prepend_history(
    fields: Message, messages: list[Message]
) -> tuple[list[Message], frozenset[str]]:
    """Prepend the row's ``history`` and ``system`` (OpenOrca's ``system_prompt``) to messages.

    Returns the messages and the names of these fields. Raises RowProblem.
    """
    earlier = parse_history(fields.get("history"))
    taken = _CONTEXT_FIELDS
    system = fields.get("system")
    if system is None and fields.get("system_prompt") is not None:
        system = fields["system_prompt"]
        taken |= {"system_prompt"}
    return add_system_prompt([*earlier, *messages] if earlier else messages, system), taken


def _finished(messages: list[Message], fields: Message, used: set[str]) -> Example:
    messages, taken = prepend_history(fields, messages)
    return to_chat_example(messages, fields, taken | used)


def _mask(message: Message) -> Message:
    return {**message, "weight": 0} if message["role"] == "assistant" else message
