"""KTO rows: answers with a label, true or false."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.format_names import Format
from ftwizard.data.formats import bedrock, chat, pairs, sharegpt, vertex
from ftwizard.data.formats.detect import recognised
from ftwizard.data.formats.fields import describe_keys, describe_type, require_object

_VERDICTS = ("kto_tag", "label")
_READERS: dict[Format, Any] = {
    "prompt-completion": pairs.read_prompt_completion,
    "openai-chat": chat.read_chat,
    "bedrock-claude": bedrock.read_claude,
    "sharegpt": sharegpt.read_sharegpt,
    "alpaca": pairs.read_alpaca,
    "dolly": pairs.read_dolly,
    "question-answer": pairs.read_question_answer,
    "query-response": pairs.read_query_response,
    "bedrock-converse": bedrock.read_converse,
    "vertex": vertex.read_vertex,
}


def read_kto(row: Any) -> Example:
    """Read a row of any format with an answer and a boolean ``label`` (LLaMA-Factory:
    ``kto_tag``). Raises RowProblem."""
    fields = require_object(row)
    key = next((key for key in _VERDICTS if key in fields), "label")
    label = fields.get(key)
    if not isinstance(label, bool):
        problem = (
            f"{key} is {describe_type(label)}"
            if key in fields
            else f"no label ({describe_keys(fields)})"
        )
        raise RowProblem("label", problem, f"write {key} as true (good answer) or false")
    rest = {name: value for name, value in fields.items() if name != key}
    holds = recognised(rest).holds
    for format, read in _READERS.items():
        if format in holds:
            answered: Example = read(rest)
            return msgspec.structs.replace(answered, kind="labelled", label=label)
    if rest.get("prompt") is not None:
        raise RowProblem(
            "missing_answer",
            f"no completion ({describe_keys(rest)})",
            "add the answer as completion",
        )
    raise RowProblem(
        "missing_prompt", f"no prompt ({describe_keys(rest)})", "add prompt and completion"
    )
