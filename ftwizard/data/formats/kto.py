"""KTO rows: answers with a label, true or false."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.format_names import Format
from ftwizard.data.formats import bedrock, chat, pairs, sharegpt, vertex
from ftwizard.data.formats.detect import recognised
from ftwizard.data.formats.fields import as_object, keys_of, kind_of

_VERDICTS = ("kto_tag", "label")
_READERS: dict[Format, Any] = {
    "prompt-completion": pairs.prompt_completion,
    "openai-chat": chat.example,
    "bedrock-claude": bedrock.claude,
    "sharegpt": sharegpt.example,
    "alpaca": pairs.alpaca,
    "dolly": pairs.dolly,
    "question-answer": pairs.question_answer,
    "query-response": pairs.query_response,
    "bedrock-converse": bedrock.converse,
    "vertex": vertex.example,
}


def example(row: Any) -> Example:
    """Read a row of any format with an answer and a boolean ``label`` (LLaMA-Factory:
    ``kto_tag``). Raises RowProblem."""
    fields = as_object(row)
    key = next((key for key in _VERDICTS if key in fields), "label")
    label = fields.get(key)
    if not isinstance(label, bool):
        problem = f"{key} is {kind_of(label)}" if key in fields else f"no label ({keys_of(fields)})"
        raise RowProblem("label", problem, f"write {key} as true (good answer) or false")
    rest = {name: value for name, value in fields.items() if name != key}
    holds = recognised(rest).holds
    for format, read in _READERS.items():
        if format in holds:
            answered: Example = read(rest)
            return msgspec.structs.replace(answered, kind="labelled", label=label)
    if rest.get("prompt") is not None:
        raise RowProblem(
            "missing_answer", f"no completion ({keys_of(rest)})", "add the answer as completion"
        )
    raise RowProblem("missing_prompt", f"no prompt ({keys_of(rest)})", "add prompt and completion")
