"""Tool schemas in OpenAI's current format."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.writers.losses import Losses

Fields = dict[str, Any]


def normalize_tools(example: Example, losses: Losses) -> list[dict[str, Any]]:
    """Return a row's tool schemas in OpenAI's current format, each ``{type, function}``.

    Raises RowProblem for a tool that does not describe a function.
    """
    tools: Any = example.tools or []
    legacy = example.extra.get("functions")
    if not tools and isinstance(legacy, list) and legacy:
        tools = legacy
        losses.note(
            "deprecated",
            "functions are in OpenAI's legacy format: converted to tools",
            "no action needed",
        )
    return [_normalize(tool, number) for number, tool in enumerate(tools, 1)]


def _normalize(tool: Any, number: int) -> Fields:
    function = tool.get("function") if isinstance(tool, dict) else None
    if isinstance(tool, dict) and function is None and isinstance(tool.get("name"), str):
        function = {key: value for key, value in tool.items() if key != "type"}
        tool = {"type": "function"}
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowProblem(
            "tools",
            f"tool {number} does not describe a function",
            "write it as {type: function, function: {name, description, parameters}}",
        )
    return {"type": "function", **tool, "function": function}
