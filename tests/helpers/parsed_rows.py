"""Strategies for parsed rows, with any value that readers accept."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ftwizard.data.example import ROLES, Example

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, True, -100, 10**400, 1e308])
TEXTS = st.text(st.characters(), max_size=30) | st.sampled_from(
    [
        "",
        " ",
        "\u200b",
        "\x1b[31m",
        "<|im_end|>",
        "$5 per month",
        "data:image/png;base64,AAAA",
        "nan",
    ]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def fields(**proper: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for objects with some of the fields, each valid or arbitrary."""
    return st.fixed_dictionaries({}, optional={k: VALUES | v for k, v in proper.items()})


SCHEMAS = fields(
    type=st.just("object"),
    properties=st.dictionaries(TEXTS, fields(type=st.just("string"), enum=st.lists(TEXTS))),
    required=st.lists(TEXTS),
    pattern=st.just("(a+)+$"),
    additionalProperties=st.booleans(),
    **{"$ref": st.sampled_from(["#", "#/nowhere", "http://127.0.0.1:9/x"])},
)
TOOLS = fields(
    type=st.just("function"),
    function=fields(name=TEXTS | st.just("f"), description=TEXTS, parameters=SCHEMAS),
)
CALLS = fields(
    id=TEXTS,
    type=st.just("function"),
    function=fields(name=TEXTS | st.just("f"), arguments=st.just('{"a": 1}') | st.just("{")),
)
PARTS = st.builds(
    lambda part: {**part, "text": "a"} if part["type"] == "text" else part,
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image_url", "image", "video", "input_audio"])},
        optional={"text": VALUES | TEXTS, "image_url": VALUES | fields(url=TEXTS)},
    ),
)
CONTENT = st.none() | TEXTS | st.lists(PARTS, min_size=1, max_size=3)
MESSAGES = st.builds(
    lambda message, role, content: {**message, "role": role, "content": content},
    fields(
        tool_calls=st.lists(CALLS, max_size=3),
        tool_call_id=TEXTS,
        weight=NUMBERS,
        function_call=fields(name=TEXTS),
        refusal=TEXTS,
    ),
    st.sampled_from(ROLES),
    CONTENT,
)
SHAPED_CALLS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b"]),
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"name": st.just("f"), "arguments": st.dictionaries(TEXTS, VALUES, max_size=3)}
        ),
    }
)
SHAPED = st.fixed_dictionaries(
    {"role": st.sampled_from(ROLES), "content": CONTENT},
    optional={
        "tool_calls": st.lists(SHAPED_CALLS, max_size=3),
        "tool_call_id": st.sampled_from(["a", "b", "c"]),
        "weight": st.integers(0, 1),
    },
)
SHAPED_TOOLS = st.fixed_dictionaries(
    {
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": st.just("f"), "parameters": SCHEMAS}),
    }
)
LISTS = st.lists(MESSAGES, max_size=4) | st.lists(SHAPED, max_size=5)
KINDS = st.sampled_from(["chat", "prompt", "preference", "labelled", "text", "tokens"])
COLUMNS = ("input_ids", "labels", "attention_mask")
TOKENS = st.lists(st.tuples(*[st.integers(-200, 9)] * len(COLUMNS)), max_size=4).map(
    lambda rows: {name: [row[n] for row in rows] for n, name in enumerate(COLUMNS)}
)
EXAMPLES = st.builds(
    Example,
    kind=KINDS,
    messages=LISTS,
    chosen=LISTS,
    rejected=LISTS,
    label=st.none() | st.booleans(),
    tools=st.none() | st.lists(TOOLS | SHAPED_TOOLS, max_size=3),
    text=st.none() | TEXTS,
    tokens=st.none() | TOKENS,
    extra=st.dictionaries(TEXTS, VALUES, max_size=3) | fields(label=NUMBERS),
)
