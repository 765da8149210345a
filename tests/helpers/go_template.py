"""The part of Go's template language that Modelfiles use, as Ollama executes it.

Rules: https://pkg.go.dev/text/template; the values: ollama, template/template.go.
"""

from __future__ import annotations

import re
from typing import Any

_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_EQ = re.compile(r'eq \.(\w+) "(\w+)"')


def execute(template: str, messages: list[dict[str, str]]) -> str:
    """Render a chat as Ollama does before the model answers."""
    collated: list[dict[str, str]] = []
    for message in messages:
        if collated and collated[-1]["role"] == message["role"]:
            collated[-1]["content"] += "\n\n" + message["content"]
        else:
            collated.append(dict(message))
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    values = {
        "System": system,
        "Messages": [{"Role": m["role"], "Content": m["content"]} for m in collated],
    }
    parts = _ACTION.split(template)
    tokens = [(i % 2 == 1, part.strip() if i % 2 else part) for i, part in enumerate(parts)]
    text, rest = _run(tokens, values, skip=False)
    assert not rest, rest
    return text


def _run(
    tokens: list[tuple[bool, str]], dot: Any, *, skip: bool
) -> tuple[str, list[tuple[bool, str]]]:
    """Render up to an ``else`` or ``end`` of this block; return the text, and the tokens from it."""
    out = ""
    while tokens:
        is_action, text = tokens[0]
        if not is_action:
            out, tokens = out + text, tokens[1:]
        elif text.startswith("if "):
            part, tokens = _run_if(tokens, dot)
            out += part
        elif text.startswith("range ."):
            body = tokens[1:]
            _, tokens = _run(body, {}, skip=True)
            for item in dot.get(text[len("range .") :], []):
                out += _run(body, item, skip=False)[0]
            assert tokens[0][1] == "end"
            tokens = tokens[1:]
        elif text == "end" or text.startswith("else"):
            return out, tokens
        else:
            assert re.fullmatch(r"\.\w+", text), text
            out, tokens = out + ("" if skip else str(dot.get(text[1:], ""))), tokens[1:]
    return out, tokens


def _run_if(tokens: list[tuple[bool, str]], dot: Any) -> tuple[str, list[tuple[bool, str]]]:
    out, is_done = "", False
    while tokens[0][1] != "end":
        text = tokens[0][1].removeprefix("else").strip()
        is_true = not is_done and (text == "" or _is_true(text.removeprefix("if "), dot))
        part, tokens = _run(tokens[1:], dot, skip=not is_true)
        if is_true:
            out, is_done = part, True
    return out, tokens[1:]


def _is_true(condition: str, dot: Any) -> bool:
    if match := _EQ.fullmatch(condition):
        return bool(dot.get(match[1]) == match[2])
    assert re.fullmatch(r"\.\w+", condition), condition
    return bool(dot.get(condition[1:]))
