"""Prompt rows without answers, with fields for a grader or reward function."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.formats.chat import LISTS, to_chat_example
from ftwizard.data.formats.fields import (
    add_system_prompt,
    describe_keys,
    first_key,
    get_text,
    require_object,
)
from ftwizard.data.formats.turns import parse_messages

_NAMES = (*LISTS, "prompt")
_KNOWN = {name: frozenset((name, "system", "tools")) for name in _NAMES}


def read_prompt(row: Any) -> Example:
    """Read ``messages``, or ``prompt`` as text or messages; other fields become ``extra``.

    Raises RowProblem.
    """
    fields = require_object(row)
    name = first_key(fields, _NAMES)
    if name is None:
        raise RowProblem("missing_prompt", f"no prompt ({describe_keys(fields)})", "add the prompt")
    if isinstance(fields[name], list) or name != "prompt":
        messages = parse_messages(fields[name], name)
    else:
        messages = [{"role": "user", "content": get_text(fields, name)}]
    messages = add_system_prompt(messages, fields.get("system"))
    return msgspec.structs.replace(to_chat_example(messages, fields, _KNOWN[name]), kind="prompt")
