"""Strategies for rows with arbitrary values, which checks and writers must accept."""

from __future__ import annotations

from hypothesis import strategies as st

from ftwizard.data.example import Example

PNG = "data:image/png;base64,iVBORw0KGgo="
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "video", "audio", 3])},
    optional={
        "text": JSON,
        "image_url": JSON | st.fixed_dictionaries({"url": st.text(max_size=9) | st.just(PNG)}),
        "video": JSON,
    },
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "function": JSON | st.fixed_dictionaries({"name": JSON, "arguments": JSON}),
    },
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]) | JSON},
    optional={
        "content": JSON | st.lists(PARTS | JSON, max_size=3),
        "tool_calls": JSON | st.lists(CALLS, max_size=3),
        "function_call": JSON | st.fixed_dictionaries({"name": JSON}),
        "tool_call_id": JSON,
        "name": JSON,
        "weight": JSON | st.sampled_from([0, 1]),
        "reasoning_content": JSON,
        "more": JSON,
    },
)  # fmt: skip
EXAMPLES = st.builds(
    Example,
    kind=st.sampled_from(["chat", "prompt", "preference", "labelled", "text", "tokens"]),
    messages=st.lists(MESSAGES, max_size=4),
    chosen=st.lists(MESSAGES, max_size=2),
    rejected=st.lists(MESSAGES, max_size=2),
    label=st.none() | st.booleans(),
    tools=st.none() | st.lists(st.dictionaries(st.sampled_from(["type", "function", "name", "parameters"]), JSON), max_size=2),
    text=st.none() | st.text(),
    tokens=st.none() | st.dictionaries(st.sampled_from(["input_ids", "labels"]), JSON),
    extra=st.dictionaries(st.sampled_from(["id", "functions", "messages"]), JSON),
)  # fmt: skip
