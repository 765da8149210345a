"""Checks on arbitrary values: no crash, and findings that are safe to print."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.data.checks import aggregate, row_checker
from ftwizard.data.example import Example
from ftwizard.data.platforms import all_targets, severities
from ftwizard.data.privacy import prefilter
from ftwizard.text import make_visible
from tests.helpers.parsed_rows import EXAMPLES


@settings(max_examples=100, deadline=None)
@given(EXAMPLES, st.sampled_from(sorted(all_targets())))
def test_arbitrary_rows_never_crash_row_checks(example: Example, name: str) -> None:
    target = all_targets()[name]
    for family in row_checker.FAMILIES:
        for result in family(example, target):
            assert result.code in severities()
            assert result.message and result.fix
            assert (
                make_visible(result.message) == result.message
                and make_visible(result.fix) == result.fix
            )


@settings(max_examples=60, deadline=None)
@given(st.lists(EXAMPLES, max_size=5), st.sampled_from(sorted(all_targets())))
def test_arbitrary_rows_never_crash_file_checks(examples: list[Example], name: str) -> None:
    for make in aggregate.FILE_FAMILIES:
        file_check = make()
        for line, example in enumerate(examples, 1):
            file_check.add(line, example)
        for finding in file_check.findings(all_targets()[name], len(examples)):
            assert finding.code in severities() and make_visible(finding.message) == finding.message


@settings(max_examples=40, deadline=None)
@given(EXAMPLES, st.sampled_from(sorted(all_targets())))
def test_check_row_reports_each_code_once(example: Example, name: str) -> None:
    target = all_targets()[name]
    codes = [result.code for result in row_checker.check_row(example, target)]
    assert len(codes) == len(set(codes))
    assert all(target.severity(code) for code in codes)


def test_deep_nesting_does_not_crash_row_checks() -> None:
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
def test_prefilter_keeps_no_earlier_matches(name: str) -> None:
    search = getattr(prefilter, name)
    assert search("\x00 $5 per month")
    assert search("plain") == frozenset()
