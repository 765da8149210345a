"""Prompt rows without answers, with fields for a grader or reward function."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.formats.chat import LISTS, finished
from ftwizard.data.formats.fields import as_object, first_of, keys_of, text, with_system
from ftwizard.data.formats.turns import turns

_NAMES = (*LISTS, "prompt")
_KNOWN = {name: frozenset((name, "system", "tools")) for name in _NAMES}


def example(row: Any) -> Example:
    """Read ``messages``, or ``prompt`` as text or messages; other fields become ``extra``.

    Raises RowProblem.
    """
    fields = as_object(row)
    name = first_of(fields, _NAMES)
    if name is None:
        raise RowProblem("missing_prompt", f"no prompt ({keys_of(fields)})", "add the prompt")
    if isinstance(fields[name], list) or name != "prompt":
        messages = turns(fields[name], name)
    else:
        messages = [{"role": "user", "content": text(fields, name)}]
    messages = with_system(messages, fields.get("system"))
    return msgspec.structs.replace(finished(messages, fields, _KNOWN[name]), kind="prompt")
