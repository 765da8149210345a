"""Findings grouped by code: exact counts, ascending lines, merged parts."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.findings import MAX_CAUSES, MAX_SHOWN_LINES, FileFinding, Findings, RowFinding
from ftwizard.data.platforms import get_target, severities
from tests.paths import ROOT

CODES = ("empty_assistant", "duplicate", "changing_facts", "weight")
OPENAI = get_target("openai-sft")


def collect_codes(rows: list[str], start: int = 1) -> Findings:
    findings = Findings()
    for line, code in enumerate(rows, start):
        findings.add(line, RowFinding(code, f"at {line}", "mend it"))
    return findings


@given(st.lists(st.sampled_from(CODES)), st.lists(st.sampled_from(CODES)))
def test_merged_parts_equal_the_whole_file(first: list[str], second: list[str]) -> None:
    whole = collect_codes([*first, *second]).for_target(OPENAI)
    parts = collect_codes(first)
    parts.extend(collect_codes(second), len(first))
    assert [(item.code, item.count, item.lines) for item in parts.for_target(OPENAI)] == [
        (item.code, item.count, item.lines) for item in whole
    ]


def test_counts_are_exact_while_lines_are_capped() -> None:
    (item,) = collect_codes(["weight"] * (MAX_SHOWN_LINES + 5)).for_target(OPENAI)
    assert item.count == MAX_SHOWN_LINES + 5
    assert item.lines == list(range(1, MAX_SHOWN_LINES + 1))
    assert item.message == "at 1"


def test_findings_are_sorted_by_severity_and_filtered_by_target() -> None:
    result = collect_codes(["changing_facts", "duplicate", "weight", "duplicate"])
    assert [(item.severity, item.code) for item in result.for_target(OPENAI)] == [
        ("error", "weight"),
        ("warning", "duplicate"),
        ("info", "changing_facts"),
    ]
    result.add_file([FileFinding(code="bom", message="m", fix="f", count=4, lines=[])])
    assert "bom" not in [item.code for item in result.for_target(get_target("trl-sft"))]
    assert "bom" in [item.code for item in result.for_target(OPENAI)]


CAUSES = (
    "it is a list, {n} long",
    "it breaks off",
    "NaN is no number",
    "a comment",
    "HTML",
    "XML",
)


def collect_causes(rows: list[str], start: int = 1) -> Findings:
    findings = Findings()
    for line, cause in enumerate(rows, start):
        key = f"invalid_json.{cause[:6]}"
        findings.add(line, RowFinding(key, cause.format(n=line), f"mend: {cause[:4]}"))
    return findings


@given(st.lists(st.sampled_from(CAUSES), min_size=1), st.lists(st.sampled_from(CAUSES)))
def test_causes_of_one_code_are_listed_at_their_first_lines(
    first: list[str], second: list[str]
) -> None:
    rows = [*first, *second]
    (item,) = collect_causes(rows).for_target(OPENAI)
    firsts = sorted(rows.index(cause) + 1 for cause in set(rows))[:MAX_CAUSES]
    assert [item.lines[0], *(cause.line for cause in item.also)] == firsts
    assert [cause.message for cause in item.also] == [
        rows[line - 1].format(n=line) for line in firsts[1:]
    ]
    parts = collect_causes(first)
    parts.extend(collect_causes(second), len(first))
    (merged,) = parts.for_target(OPENAI)
    assert [cause.line for cause in merged.also] == [cause.line for cause in item.also]
    assert (merged.message, merged.lines, merged.count) == (item.message, item.lines, item.count)


def list_causes() -> Iterator[str]:
    """Yield every cause that the package's source passes to a finding or row problem."""
    for path in (ROOT / "ftwizard" / "data").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name):
                cause = node.args[0]
                if node.func.id in ("RowFinding", "RowProblem") and isinstance(cause, ast.Constant):
                    yield str(cause.value)


def test_every_cause_has_a_severity() -> None:
    causes = set(list_causes())
    assert len(causes) > 80
    assert {cause.partition(".")[0] for cause in causes} <= severities().keys()
