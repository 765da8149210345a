"""Rows of one prompt and one answer, each a field of its own."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example, Message
from ftwizard.data.formats.chat import finished
from ftwizard.data.formats.fields import (
    as_object,
    exchange,
    first_of,
    history,
    keys_of,
    text,
    with_system,
)
from ftwizard.data.formats.turns import turns

_BESIDES = frozenset(("system", "history", "tools"))
_PROMPT_COMPLETION = frozenset(("prompt", "completion", "system", "tools"))


def alpaca(row: Any) -> Example:
    """Read an Alpaca row: the user says ``instruction``, a blank line and ``input``; ``output``
    answers.

    ``system`` and ``history``, a list of earlier [user, assistant] pairs that are learnt from too,
    may be there (the form of LLaMA-Factory's data/README). Raises RowProblem.
    """
    return _pair(as_object(row), "missing_instruction", "instruction", "input", "output")


def dolly(row: Any) -> Example:
    """Read a Dolly row: ``instruction``, a blank line, ``context``; ``response`` answers.

    Raises RowProblem.
    """
    return _pair(as_object(row), "missing_instruction", "instruction", "context", "response")


def question_answer(row: Any) -> Example:
    """Read ``question``, where present ``context``, and ``answer`` (or ``response``).

    Raises RowProblem.
    """
    fields = as_object(row)
    answer = first_of(fields, ("answer", "response")) or "answer"
    return _pair(fields, "missing_prompt", "question", "context", answer)


def query_response(row: Any) -> Example:
    """Read ``query`` (or ``prompt``) and ``response``, as ms-swift writes them, with ``system``
    and ``history``; raise RowProblem."""
    fields = as_object(row)
    query = first_of(fields, ("query", "prompt")) or "query"
    return _pair(fields, "missing_prompt", query, None, "response")


def multiple_choice(row: Any) -> Example:
    """Read ``query``, ``choices`` and ``gold``, the number from 0 of the choice that is right.

    The user gives the query and every choice on a line of its own; the right one is the answer.
    Raises RowProblem.
    """
    fields = as_object(row)
    if fields.get("query") is None:
        raise RowProblem("missing_prompt", f"no query ({keys_of(fields)})", "add the query")
    query, choices, gold = text(fields, "query"), fields.get("choices"), fields.get("gold")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise RowProblem("choice", "choices is no list of texts", "list the choices as texts")
    if type(gold) is not int or not 0 <= gold < len(choices):
        raise RowProblem(
            "choice",
            f"gold names none of the {len(choices):,} choices",
            f"write the number of the right one, from 0 to {max(len(choices) - 1, 0):,}",
        )
    asked = "\n".join((query.removesuffix("\n"), *choices))
    return _finished(exchange(asked, choices[gold]), fields, {"query", "choices", "gold"})


def prompt_completion(row: Any) -> Example:
    """Read ``prompt`` and ``completion``, both text or both lists of messages.

    As in TRL, only the completion is learnt from: answers within the prompt get the weight 0.
    Raises RowProblem.
    """
    fields = as_object(row)
    for key, code in (("prompt", "missing_prompt"), ("completion", "missing_answer")):
        if fields.get(key) is None:
            raise RowProblem(code, f"no {key} ({keys_of(fields)})", "give prompt and completion")
    prompt, completion = fields["prompt"], fields["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        before = [_unlearnt(m) for m in turns(prompt, "prompt", "prompt message")]
        after = turns(completion, "completion", "completion message")
        if all(message["role"] != "assistant" for message in after):
            raise RowProblem("no_assistant", "completion holds no answer", "add the answer to it")
    else:
        both = exchange(text(fields, "prompt"), text(fields, "completion"))
        before, after = both[:1], both[1:]
    messages = with_system([*before, *after], fields.get("system"))
    return finished(messages, fields, _PROMPT_COMPLETION)


def _pair(fields: Message, code: str, ask: str, more: str | None, answer: str) -> Example:
    """Read a row by the names of its fields: what asks (``code`` if it is not there), what belongs
    to it, what answers."""
    if fields.get(ask) is None:
        raise RowProblem(code, f"no {ask} ({keys_of(fields)})", f"add the prompt as {ask}")
    if fields.get(answer) is None:
        raise RowProblem(
            "missing_answer", f"no {answer} ({keys_of(fields)})", f"add the answer as {answer}"
        )
    asked = prompt(fields, ask, more)
    used = {ask, answer} if more is None else {ask, more, answer}
    return _finished(exchange(asked, text(fields, answer)), fields, used)


def prompt(fields: Message, ask: str, more: str | None) -> str:
    """Return what the user says: two fields with a blank line between, either left out if blank.

    Raises RowProblem.
    """
    asked = text(fields, ask)
    added = text(fields, more) if more is not None else ""
    if not added.strip():
        return asked
    return f"{asked}\n\n{added}" if asked.strip() else added


def after_earlier(fields: Message, messages: list[Message]) -> tuple[list[Message], frozenset[str]]:
    """Return the messages after the row's ``history`` and ``system`` (OpenOrca's
    ``system_prompt``), and the names of these fields; raise RowProblem."""
    earlier = history(fields.get("history"))
    taken = _BESIDES
    system = fields.get("system")
    if system is None and fields.get("system_prompt") is not None:
        system = fields["system_prompt"]
        taken |= {"system_prompt"}
    return with_system([*earlier, *messages] if earlier else messages, system), taken


def _finished(messages: list[Message], fields: Message, used: set[str]) -> Example:
    messages, taken = after_earlier(fields, messages)
    return finished(messages, fields, taken | used)


def _unlearnt(message: Message) -> Message:
    return {**message, "weight": 0} if message["role"] == "assistant" else message
