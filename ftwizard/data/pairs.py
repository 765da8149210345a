"""Rows of one prompt and one answer: Alpaca's ``instruction``, and ``prompt`` with ``completion``."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import Conversation, Message, RowProblem, as_object, keys_of
from ftwizard.data.messages import complete, turns


def alpaca(row: Any) -> Conversation:
    """Turn an Alpaca row into a conversation.

    The user says ``instruction``, a blank line and ``input``; ``output`` answers. ``system`` and
    ``history``, a list of earlier [user, assistant] pairs that are learnt from too, may be there
    (the form of LLaMA-Factory's data/README). Raises RowProblem.
    """
    fields = as_object(row)
    if "instruction" not in fields:
        raise RowProblem(
            "missing_instruction", f"no instruction ({keys_of(fields)})", "use Alpaca rows"
        )
    said = [_text(fields, key) for key in ("instruction", "input")]
    prompt = "\n\n".join(text for text in said if text.strip())
    if not prompt:
        raise RowProblem("empty_prompt", "instruction and input are empty", "write the instruction")
    if fields.get("output") is None:
        raise RowProblem("no_assistant", "no output to learn from", "add the answer as output")
    answer = _text(fields, "output")
    if not answer.strip():
        raise RowProblem("empty_assistant", "output is empty", "write the answer or delete the row")
    return complete([*_history(fields.get("history")), *_exchange(prompt, answer)], fields)


def prompt_completion(row: Any) -> Conversation:
    """Turn ``prompt`` and ``completion``, both text or both lists of messages, into a conversation.

    As in TRL, loss lies on the completion only: answers within the prompt get the weight 0.
    Raises RowProblem.
    """
    fields = as_object(row)
    for key, code in (("prompt", "missing_prompt"), ("completion", "no_assistant")):
        if fields.get(key) is None:
            raise RowProblem(code, f"no {key} ({keys_of(fields)})", "give prompt and completion")
    if isinstance(fields["prompt"], list) and isinstance(fields["completion"], list):
        before = turns(fields["prompt"], "prompt message")
        after = turns(fields["completion"], "completion message")
    else:
        both = _exchange(_text(fields, "prompt"), _text(fields, "completion"))
        before, after = both[:1], both[1:]
    if not any(m["content"].strip() for m in before):
        raise RowProblem("empty_prompt", "prompt is empty", "write the prompt")
    complete(after, {})  # an answer within the prompt is none to learn from
    unlearnt = [{**m, "weight": 0} if m["role"] == "assistant" else m for m in before]
    return complete([*unlearnt, *after], fields)


def _exchange(prompt: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _text(row: Message, key: str) -> str:
    """Return a text of the row, empty where there is none."""
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        kind = type(value).__name__
        raise RowProblem("content_type", f"{key} is of type {kind}, not text", "write it as text")
    return value


def _history(value: Any) -> list[Message]:
    if value in (None, "", []):
        return []
    pairs = value if isinstance(value, list) else [value]
    messages: list[Message] = []
    for number, pair in enumerate(pairs, 1):
        texts = pair if isinstance(pair, list) else []
        if len(texts) != 2 or not all(isinstance(text, str) for text in texts):
            raise RowProblem(
                "history",
                f"pair {number} of history is not [user, assistant], two texts",
                "correct it, or leave history out",
            )
        messages += _exchange(*texts)
    return messages
