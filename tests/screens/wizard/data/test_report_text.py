"""Text of the data page: verdict, findings, rows of every kind, lengths and their limit."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from ftwizard.data import formats, row_preview
from ftwizard.data.documents import RepairForecast, Repairs
from ftwizard.data.findings import FileFinding
from ftwizard.models.loss_mask import RowMask, TokenSpan
from ftwizard.screens.terminal import visible_text
from ftwizard.screens.wizard.data import (
    length_histogram,
    new_files,
    report_text,
    row_text,
    selection,
)
from ftwizard.screens.wizard.data.length_histogram import RowLengths
from ftwizard.screens.wizard.data.rows import format_mask
from tests.helpers.format_rows import DIALECTS
from tests.screens.hostile import TEXTS, obeyed
from tests.screens.wizard.data.reports import REPORT, TOKENS, clean, example, finding, report

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner,
                                                                max_size=3),
    max_leaves=12,
)  # fmt: skip
TURN = st.fixed_dictionaries(
    {"role": st.text(max_size=5)},
    optional={
        "content": ANYTHING, "tool_calls": st.lists(ANYTHING, max_size=3), "weight": ANYTHING,
        "function_call": ANYTHING, "name": ANYTHING, "tool_call_id": ANYTHING,
    },
)  # fmt: skip
TURNS = st.lists(TURN, max_size=3)
EXAMPLE = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["chat", "prompt", "preference", "labelled", "text", "tokens"]),
        "messages": TURNS, "chosen": TURNS, "rejected": TURNS, "label": ANYTHING,
        "tools": st.none() | st.lists(ANYTHING, max_size=3),
        "text": st.none() | st.text(max_size=8),
        "tokens": st.none() | st.dictionaries(
            st.sampled_from(["input_ids", "labels", "attention_mask"]), ANYTHING
        ),
        "extra": st.dictionaries(st.text(max_size=6), ANYTHING, max_size=3),
    }
)  # fmt: skip


@given(EXAMPLE)
def test_row_with_any_content_can_be_formatted(result: dict[str, Any]) -> None:
    for text in (row_text.format_example(result).plain, row_text.summarize(result)):
        assert not obeyed(text.replace("\t", ""))
    assert row_text.count_characters(result) >= 0


@pytest.mark.parametrize(("format", "row"), DIALECTS)
def test_row_of_each_format_shows_roles_and_content(format: Any, row: Any) -> None:
    result = row_preview.redact_example(formats.to_example(row, format))
    text = row_text.format_example(result).plain
    for message in (*result["messages"], *result["chosen"], *result["rejected"]):
        assert message["role"] in text
        if isinstance(message.get("content"), str):
            assert message["content"].strip() in text
    assert row_text.summarize(result)
    if result["kind"] == "preference":
        assert text.index("✓ chosen") < text.index("✗ rejected")
    if result["kind"] == "labelled":
        assert ("undesirable" in text) == (not result["label"])


def test_images_tool_calls_weights_and_extras_are_labeled() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}
    call = {"function": {"name": "weather", "arguments": {"at": "x"}}}
    result = example(
        "q",
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Who?"}, picture]},
            {"role": "assistant", "content": None, "tool_calls": [call], "weight": 0},
            {"role": "tool", "content": "4", "tool_call_id": "c1"},
        ],
        tools=[{"type": "function", "function": {"name": "weather"}}],
        extra={"id": 3},
    )
    text = row_text.format_example(result).plain
    assert "Who?\n[image: image/png, 3 kB in the row]" in text
    assert '→ weather({"at":"x"})' in text
    assert "assistant  not trained on (weight 0)" in text and "tool  result of c1" in text
    assert text.startswith("tools  weather") and text.endswith("extra  id")
    assert row_text.summarize(result).startswith("Who? [image")


@pytest.mark.parametrize("name", TEXTS)
def test_only_invisible_characters_are_highlighted(name: str) -> None:
    text = TEXTS[name][:5000]
    for output in (visible_text.mark_lines(text), visible_text.mark_line(text)):
        assert not obeyed(output.plain.replace("\t", ""))
        bad = "".join(output.plain[span.start : span.end] for span in output.spans)
        assert bool(bad) == any(
            visible_text.mark_line(char).spans != [] for char in text if char not in "\n\t"
        )
    assert visible_text.mark_lines("all is well\n\tand plain: ß é 漢 👩").spans == []


def test_verdict_has_a_mark_and_a_summary() -> None:
    assert report_text.format_verdict(report("x")).plain == (
        "✗ 1,800 rows, chat messages; 6 rows unusable"
    )
    assert report_text.format_verdict(clean("x")).plain == "✓ 1,800 rows, chat messages; all usable"
    findings = [finding("warning", "bidi", "m", [1]), finding("info", "sampled", "m", [])]
    warned = clean("x", verdict="warning", findings=findings)
    assert report_text.format_verdict(warned).plain.startswith("! 1,800 rows")
    assert report_text.format_verdict(warned).plain.endswith("all usable, 1 warning")
    nothing = report("x", rows=3, usable=0, format=None)
    assert "unknown format; 3 rows unusable" in report_text.format_verdict(nothing).plain


def test_tokens_are_shown_with_range_and_trainable_tokens() -> None:
    assert report_text.format_tokens(report("x")).plain.strip() == (
        "812,345 tokens (800,112–824,310); trainable: 402,310 (396,000–408,100)"
    )
    exact = TOKENS | {"exact": True}
    trained = {"total": 9, "low": 9, "high": 9, "exact": False, "rows_without": 0}
    assert report_text.format_tokens(
        report("x", tokens=exact, trained_tokens=trained)
    ).plain.strip() == ("812,345 tokens; trainable: 9")
    many = TOKENS | {"total": 40_123_456, "low": 28_649_000, "high": 60_412_000}
    assert (
        report_text.format_tokens(report("x", tokens=many, trained_tokens=None)).plain.strip()
        == "40.1 million tokens (28.6–60.5)"
    )
    assert not report_text.format_tokens(report("x", tokens=None, trained_tokens=None))


@given(st.sets(st.integers(1, 60)), st.integers(0, 5))
def test_location_lists_the_lines_of_a_finding(numbers: set[int], more: int) -> None:
    expected = sorted(numbers)
    result = finding("error", "code", "m", expected, count=len(expected) + more)
    text = re.split(", at rows? ", report_text.describe_location(result, unit="row"))[-1]
    text = text if expected else ""
    named = report_text.format_lines(result, unit="row")
    assert named.startswith("row " if len(expected) == 1 else "rows ")
    named, _, rest = text.partition(" and ")
    recorded: list[int] = []
    for part in filter(None, named.split(", ")):
        first, _, last = part.partition("–")
        recorded += range(int(first), int(last or first) + 1)
    assert recorded == expected[: len(recorded)]
    if expected:
        assert len(recorded) + int((rest or "0").split()[0]) == len(expected) + more


def test_findings_are_sorted_by_severity_and_keep_their_ids() -> None:
    subjects = selection.list_subjects(report("x"))
    graded = [item.finding.severity for item in subjects.values() if item.finding]
    assert graded == sorted(graded, key=["error", "warning", "info"].index)
    twice = [finding("error", "same", "a", [1]), finding("error", "same", "b", [2])]
    assert len(selection.list_subjects(report("x", findings=twice, preview=[]))) == 2
    shown_ids = [id for _, id in selection.format_lines(subjects, 60) if id]
    assert shown_ids == list(subjects)


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), min_size=1, max_size=25,
             unique_by=lambda item: item[0]),
    st.none() | st.integers(1, 10**6), st.integers(30, 160), st.integers(5, 40),
)  # fmt: skip
def test_histogram_fits_and_marks_the_limit(
    bins: list[tuple[int, int]], limit: int | None, width: int, height: int
) -> None:
    bins.sort()
    figures = {"p50": 1, "p95": 2, "max": bins[-1][0]}
    drawn = length_histogram.draw_histogram(
        RowLengths("tokens", bins, figures, limit, None, "its"), width, height
    )
    lines = drawn.plain.split("\n")
    rows = [line for line in lines if line.lstrip().startswith("≤")]
    assert len(lines) <= max(height, 5) and 1 <= len(rows) <= len(bins)
    assert all(len(line) <= max(width, 40) for line in rows)
    assert drawn.plain.count("◂") == (limit is not None and limit <= bins[-1][0])
    if limit is not None and limit > bins[-1][0]:
        assert "no row exceeds its" in drawn.plain


def test_lengths_are_in_characters_without_token_counts() -> None:
    lengths = length_histogram.build_lengths(report("x", tokens=None), 1024, "its")
    assert lengths is not None and lengths.unit == "characters" and lengths.limit is None
    assert lengths.rows == ", the first 40 rows"
    assert sum(rows for _, rows in lengths.bins) == 40
    assert length_histogram.build_lengths(report("x", tokens=None, preview=[]), 1024) is None


def test_conversion_targets_match_the_kind_of_rows() -> None:
    pair = example("q", kind="preference")
    pairs = report("x", preview=[{"line": 1, "example": pair}])
    names = [name for name, _ in new_files.list_targets(pairs)]
    assert "openai-dpo" in names and "openai-sft" not in names
    assert len(new_files.list_targets(report("x", preview=[]))) > len(names)


def test_mask_has_a_bar_at_each_trainable_line() -> None:
    spans = [
        TokenSpan(0, 3, "ask\nmore", False),
        TokenSpan(3, 5, "one two three\n\nfour", True),
        TokenSpan(5, 9, "cut", True),
    ]
    row = RowMask(line=7, tokens=9, kept=5, trained=2, spans=spans)
    mask = format_mask(row, 12)
    lines = mask.plain.split("\n")[4:]
    assert lines == ["  ask", "  more", "▌ one two ", "▌ three", "▌ ", "▌ four", "░ cut"]
    none = format_mask(msgspec.structs.replace(row, trained=0, spans=[]), 30)
    assert "no trainable tokens" in none.plain


def test_repair_summary_lists_changed_and_skipped_rows() -> None:
    done = Repairs(
        out="new.jsonl", changes="new.jsonl.changes.jsonl", rows_in=9, rows_out=8, sha256="",
        changed=[FileFinding(
            code="bidi", message="characters were taken out", fix="", count=2, lines=[3, 4])],
        left_out=[FileFinding(
            code="invalid_json", message="it breaks off", fix="", count=1, lines=[9])],
    )  # fmt: skip
    text = new_files.format_changes(done, "nothing").plain
    assert "! 2 rows: characters were taken out\n  lines 3, 4" in text
    assert "✗ 1 row skipped: it breaks off\n  line 9" in text
    nothing = msgspec.structs.replace(done, changed=[], left_out=[])
    assert new_files.format_changes(nothing, "nothing") == Text("nothing")
    assert REPORT["rows"] == 1800, "no test has changed the shared report"


def test_supervised_tuning_is_no_simpler_start_where_reinforcement_is_chosen() -> None:
    def suggest(target: str) -> str:
        rows = [
            {"line": n, "example": example("", messages=[
                {"role": "assistant", "content": f"The answer is {n}."}
            ], extra={"reference_answer": n})}
            for n in range(1, 41)
        ]  # fmt: skip
        (text,) = report_text.list_suggestions(clean("sums.jsonl", target=target, preview=rows))
        return text

    supervised, reinforcement = suggest("openai-sft"), suggest("bedrock-rft")
    assert "simpler start" in supervised and "simpler start" not in reinforcement
    assert "ftwizard grader new" in supervised and "ftwizard grader new" in reinforcement


@pytest.mark.parametrize(
    ("answer", "words", "command"),
    [
        ("{n}", "100% of the right answers end in a number. numeric_answer rewards them.",
         " Try it: ftwizard rewards numeric_answer --data 'my sums.jsonl'"),
        ("def f():\n    return {n}\n", "100% of the right answers are code: write a reward function", " of your own for them."),
    ],
)  # fmt: skip
def test_prompts_with_answers_have_a_reward_here(answer: str, words: str, command: str) -> None:
    """Their rewards run on this machine: neither a platform nor its grader is suggested."""
    ask = [{"role": "user", "content": "Solve it."}]
    rows = [
        {"line": n, "example": example("", kind="prompt", messages=ask,
                                       extra={"answer": answer.format(n=n)})}
        for n in range(1, 41)
    ]  # fmt: skip
    checked = clean("my sums.jsonl", target="trl-grpo", format="prompt", preview=rows)
    assert report_text.list_suggestions(checked) == [words + command]
    alone = [{"line": 1, "example": example("", kind="prompt", messages=ask)}]
    checked = clean("my sums.jsonl", target="trl-grpo", format="prompt", preview=alone)
    assert report_text.list_suggestions(checked) == []


def test_no_token_of_the_rows_is_trained_on_where_a_grader_scores_answers() -> None:
    assert "trainable" in report_text.format_tokens(clean("sums.jsonl")).plain
    assert "trainable" not in report_text.format_tokens(clean("a", target="bedrock-rft")).plain


def test_the_fix_here_redacts_secrets_and_is_named_only_where_it_does_something() -> None:
    forecast = RepairForecast(
        removed=1, remaining=9, by_hand={"secret": 2, "empty_assistant": 1, "template_text": 3}
    )
    facts = report_text.format_facts(report("rows.jsonl", tokens=None, forecast=forecast)).plain
    assert facts.splitlines()[-2:] == [
        "  fix (f)  removes 1 duplicate, replaces secrets in 2 rows",
        "  by hand  empty assistant (1 row), template text (3 rows, or columns: o)",
    ]
    command = "ftwizard check rows.jsonl --fix NEW.jsonl"
    facts = report_text.format_facts(report("x", tokens=None, forecast=forecast), command).plain
    assert facts.splitlines()[-2:] == [
        f"  fix  removes 1 duplicate, replaces secrets in 2 rows, with: {command}",
        "  by hand  empty assistant (1 row), template text (3 rows, or columns: as its fix says)",
    ]
    texts = report("x", tokens=None, forecast=RepairForecast(columns="messages=text"))
    lines = [
        report_text.format_facts(texts, words).plain.splitlines()[-1] for words in ("", command)
    ]
    assert lines == [
        "  columns (o)  messages=text reads each text as its turns",
        "  columns  --columns messages=text reads each text as its turns",
    ]
    only = RepairForecast(remaining=9, by_hand={"conflict": 2})
    facts = report_text.format_facts(report("rows.jsonl", tokens=None, forecast=only)).plain
    assert "fix (f)" not in facts and facts.endswith("  by hand  conflict (2 rows)")
    equal = RepairForecast(remaining=0, by_hand={"identical_pair": 24})
    facts = report_text.format_facts(report("rows.jsonl", tokens=None, forecast=equal)).plain
    assert facts.endswith("  by hand  identical pair (24 rows: neither answer is better)")


def test_pairs_can_be_converted_but_not_fixed() -> None:
    pairs = [{"line": n, "example": {**example("a?"), "kind": "preference"}} for n in (1, 2)]
    kind = [finding("error", "wrong_kind", "pairs", [1, 2])]
    checked = report("rows.jsonl", rows=2, usable=0, findings=kind, preview=pairs)
    assert report_text.can_convert(checked) and not report_text.can_fix(checked)
    targets = dict(new_files.list_targets(checked))
    assert {"trl-dpo", "trl-kto"} <= targets.keys() and "trl-sft" not in targets


@pytest.mark.parametrize(
    ("forecast", "fixes"),
    [
        (None, True),
        (RepairForecast(repaired=1, remaining=9), True),
        (RepairForecast(remaining=9, by_hand={"secret": 1}), True),
        (RepairForecast(remaining=9, by_hand={"unread_columns": 9}), False),
        (RepairForecast(remaining=9, tried=1000), True),
    ],
)
def test_a_fix_is_offered_unless_it_was_tried_in_vain(
    forecast: RepairForecast | None, fixes: bool
) -> None:
    assert report_text.can_fix(report("rows.jsonl", forecast=forecast)) is fixes
