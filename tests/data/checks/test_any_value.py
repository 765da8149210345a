"""No value, wherever it stands in a row, stops a check; what is found is fit to print."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.data.checks import row_checker
from ftwizard.data.example import ROLES, Example
from ftwizard.data.platforms import all_targets, severities
from ftwizard.data.privacy import prefilter
from ftwizard.text import make_visible

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


def fields(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of the known fields, each as it should be or not."""
    return st.fixed_dictionaries({}, optional={k: VALUES | v for k, v in known.items()})


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
PARTS = fields(
    type=st.sampled_from(["text", "image_url", "image", "video", "input_audio"]),
    text=TEXTS,
    image_url=fields(url=TEXTS),
)
MESSAGES = fields(
    role=st.sampled_from(ROLES),
    content=TEXTS | st.lists(PARTS, max_size=3),
    tool_calls=st.lists(CALLS, max_size=3),
    tool_call_id=TEXTS,
    weight=NUMBERS,
    function_call=fields(name=TEXTS),
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
    {"role": st.sampled_from(ROLES), "content": TEXTS | st.lists(PARTS, max_size=3)},
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
LISTS = VALUES | st.lists(VALUES | MESSAGES, max_size=4) | st.lists(SHAPED, max_size=5)
KINDS = st.sampled_from(["chat", "prompt", "preference", "labelled", "text", "tokens"])
IDS = st.lists(st.integers(-200, 9), max_size=4)
EXAMPLES = st.builds(
    Example,
    kind=KINDS,
    messages=LISTS,
    chosen=LISTS,
    rejected=LISTS,
    label=VALUES,
    tools=VALUES | st.lists(TOOLS | SHAPED_TOOLS, max_size=3),
    text=VALUES | TEXTS,
    tokens=VALUES | fields(input_ids=IDS, labels=IDS, attention_mask=IDS),
    extra=VALUES,
)


@settings(max_examples=100, deadline=None)
@given(EXAMPLES, st.sampled_from(sorted(all_targets())))
def test_no_value_stops_a_family(example: Example, name: str) -> None:
    target = all_targets()[name]
    for family in row_checker.FAMILIES:
        for found in family(example, target):
            assert found.code in severities()
            assert found.message and found.fix
            assert (
                make_visible(found.message) == found.message
                and make_visible(found.fix) == found.fix
            )


@settings(max_examples=60, deadline=None)
@given(st.lists(EXAMPLES, max_size=5), st.sampled_from(sorted(all_targets())))
def test_no_value_stops_what_looks_at_all_rows(examples: list[Example], name: str) -> None:
    for make in row_checker.FILE_FAMILIES:
        whole = make()
        for line, example in enumerate(examples, 1):
            whole.add(line, example)
        for found in whole.findings(all_targets()[name], len(examples)):
            assert found.code in severities() and make_visible(found.message) == found.message


@settings(max_examples=40, deadline=None)
@given(EXAMPLES, st.sampled_from(sorted(all_targets())))
def test_of_a_row_each_code_stands_once_and_counts(example: Example, name: str) -> None:
    target = all_targets()[name]
    codes = [found.code for found in row_checker.check_row(example, target)]
    assert len(codes) == len(set(codes))
    assert all(target.severity(code) for code in codes)


def test_deep_nesting_is_survived() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"a": deep}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"enum": deep}}}
    row = Example(
        kind="chat",
        messages=[{"role": "assistant", "content": "a", "tool_calls": [call]}],
        tools=[tool],
    )
    row_checker.check_row(row, all_targets()["openai-sft"])


@pytest.mark.parametrize("name", ["match_text", "match_facts"])
def test_a_search_forgets_what_it_found_before(name: str) -> None:
    search = getattr(prefilter, name)
    assert search("\x00 $5 per month")
    assert search("plain") == frozenset()
