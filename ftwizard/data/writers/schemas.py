"""Schemas of a row's tools, wrapped as OpenAI wraps them today."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.writers.losses import Losses

Fields = dict[str, Any]


def tools_of(example: Example, losses: Losses) -> list[dict[str, Any]]:
    """Return the schemas of a row's tools as OpenAI writes them today, each ``{type, function}``.

    Raises RowProblem for one that describes no function.
    """
    tools: Any = example.tools or []
    legacy = example.extra.get("functions")
    if not tools and isinstance(legacy, list) and legacy:
        tools = legacy
        losses.say(
            "deprecated",
            "it lists its functions in OpenAI's older form (functions): written as tools",
            "nothing is to be done",
        )
    return [_wrapped(tool, number) for number, tool in enumerate(tools, 1)]


def _wrapped(tool: Any, number: int) -> Fields:
    function = tool.get("function") if isinstance(tool, dict) else None
    if isinstance(tool, dict) and function is None and isinstance(tool.get("name"), str):
        function = {key: value for key, value in tool.items() if key != "type"}
        tool = {"type": "function"}
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowProblem(
            "tools",
            f"tool {number} describes no function",
            "write it as {type: function, function: {name, description, parameters}}",
        )
    return {"type": "function", **tool, "function": function}
