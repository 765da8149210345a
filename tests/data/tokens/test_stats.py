"""Token statistics: billed and trained tokens, limits, and estimates from samples."""

from __future__ import annotations

import pickle
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.data import histogram
from ftwizard.data.example import Example
from ftwizard.data.findings import MAX_SHOWN_LINES
from ftwizard.data.platforms import all_targets, get_target, severities
from ftwizard.data.tokens import stats, tokenizers
from ftwizard.data.tokens.row_tokens import RowCounter
from ftwizard.data.tokens.stats import (
    TokenCounter,
    TokenCounts,
    find_long_rows,
    sample_estimate,
)
from ftwizard.data.tokens.tokenizers import choose_encoding
from tests.helpers.tokens import multilingual, tiktoken_encoding

OPENAI = get_target("openai-sft")
ROWS = [multilingual(random.Random(seed)) for seed in range(4000)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def chat(*turns: tuple[str, str], **more: Any) -> Example:
    messages = [{"role": role, "content": content} for role, content in turns]
    return Example(kind="chat", messages=messages, **more)


def count_rows(*rows: Example, name: str = "openai-sft", limit: int | None = None) -> TokenCounts:
    tally = TokenCounter(get_target(name), choose_encoding(get_target(name)), limit)
    for line, row in enumerate(rows, 1):
        tally.add(line, row)
    return tally.counts()


def test_openai_total_adds_three_tokens_per_message() -> None:
    oracle = tiktoken_encoding("o200k_base")
    expected = [
        sum(3 + len(oracle.encode_ordinary(m["role"] + "")) + len(oracle.encode_ordinary(m["content"]))
            for m in row.messages)
        for row in ROWS[:500]
    ]  # fmt: skip
    result = count_rows(*ROWS[:500])
    assert (result.tokens.total, result.tokens.exact) == (sum(expected), True)
    assert result.tokens.low == result.tokens.total == result.tokens.high
    assert result.tokens.max == max(expected)
    assert result.longest_line == expected.index(max(expected)) + 1


def test_answers_with_zero_weight_are_billed_but_not_trained_on() -> None:
    row = chat(("user", "Hi"), ("assistant", "Hello there"), ("user", "Bye"), ("assistant", "Bye"))
    without = msgspec.structs.replace(
        row, messages=[row.messages[0], {**row.messages[1], "weight": 0}, *row.messages[2:]]
    )
    count = tokenizers.make_counter(choose_encoding(OPENAI))
    whole, part = count_rows(row), count_rows(without)
    assert whole.trained.total == count("Hello there") + count("Bye")
    assert part.trained.total == count("Bye")
    assert part.tokens.total == whole.tokens.total
    # Targets that ignore weights train on every answer.
    assert (
        count_rows(without, name="vertex-open").trained.total
        == count_rows(row, name="vertex-open").trained.total
    )


def test_trained_tokens_depend_on_the_kind_of_row() -> None:
    pair = Example(
        kind="preference",
        messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "earlier"}],
        chosen=[{"role": "assistant", "content": "good"}],
        rejected=[{"role": "assistant", "content": "bad"}],
    )
    assert count_rows(pair, name="openai-dpo").trained.total == 2
    row = chat(("user", "Hi"), ("assistant", "one two"), ("user", "Hi"), ("assistant", "three"))
    labelled = msgspec.structs.replace(row, kind="labelled", label=True)
    assert count_rows(labelled, name="trl-kto").trained.total == 1 + 1
    assert count_rows(chat(("user", "Hi")), name="openai-rft").trained.total == 0
    text = count_rows(Example(kind="text", text="one two three"), name="together-sft")
    assert text.trained.total == 3 + 1
    assert text.tokens.total == 3 + 1 + 1
    ids = Example(kind="tokens", tokens={"input_ids": [1, 2, 3, 4], "labels": [1, -100, 3, 4]})
    assert (count_rows(ids).tokens.total, count_rows(ids).trained.total) == (4, 2)
    bare = Example(kind="tokens", tokens={"input_ids": [1, 2, 3, 4]})
    assert count_rows(bare).trained.total == 3, "the first token is never predicted"


def test_tools_and_images_turn_exact_counts_into_ranges() -> None:
    plain = chat(("user", "Hi"), ("assistant", "Hello"))
    tools = msgspec.structs.replace(plain, tools=[{"type": "function", "function": {"name": "f"}}])
    result = count_rows(plain, tools).tokens
    assert not result.exact and result.low < result.total == result.high
    shown = [{"type": "image_url", "image_url": {"url": "https://e.org/a.png"}},
             {"type": "text", "text": "Hi"}]  # fmt: skip
    image_row = Example(
        kind="chat", messages=[{"role": "user", "content": shown}, plain.messages[1]]
    )
    result = count_rows(image_row).tokens
    base = count_rows(plain).tokens.total
    assert (result.low, result.total, result.high) == (base + 85, base + 765, base + 1445)
    called = Example(kind="chat", messages=[
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
    ])  # fmt: skip
    trained = count_rows(called).trained
    assert not trained.exact and trained.low == 0 < trained.total


@pytest.mark.parametrize("name", sorted(all_targets()))
def test_only_openai_and_foundry_counts_are_exact(name: str) -> None:
    result = count_rows(*ROWS[:50], name=name)
    assert result.tokens.low <= result.tokens.total <= result.tokens.high
    assert result.trained.low <= result.trained.total <= result.trained.high
    assert result.tokens.exact == name.startswith(("openai", "foundry"))
    assert result.tokens.exact or result.tokens.low < result.tokens.high
    lengths = msgspec.to_builtins(result.tokens)
    assert {"total", "low", "high", "exact", "encoding", "mean", "p50", "p95", "p99", "max",
            "over_limit", "limit", "histogram"} <= lengths.keys()  # fmt: skip


@given(
    content=JSON, role=JSON, calls=JSON, weight=JSON, name=JSON, tools=JSON, text=JSON,
    ids=st.lists(st.integers(-100, 9)), kind=st.sampled_from(["chat", "prompt", "preference", "labelled", "text", "tokens"]),
)  # fmt: skip
def test_arbitrary_rows_never_crash_the_counter(
    content: Any, role: Any, calls: Any, weight: Any, name: Any, tools: Any, text: Any,
    ids: list[int], kind: Any,
) -> None:  # fmt: skip
    odd = {"role": role, "content": content, "tool_calls": calls, "weight": weight, "name": name}
    answer = {**odd, "role": "assistant"}
    row = Example(
        kind=kind, messages=[odd, answer], chosen=[answer], rejected=[odd], tools=tools,
        text=text if isinstance(text, str) else None,
        tokens={"input_ids": ids, "labels": ids[::-1]},
    )  # fmt: skip
    for index in ("openai-sft", "openai-dpo", "openai-rft", "trl-kto", "vertex-gemini"):
        item = RowCounter(get_target(index), choose_encoding(get_target(index))).count(row)
        assert 0 <= item.trained <= item.tokens and 0 <= item.before <= item.tokens
        assert count_rows(row, name=index).tokens.rows == 1


def test_merged_counters_equal_the_count_of_the_whole_file() -> None:
    whole = TokenCounter(OPENAI, choose_encoding(OPENAI), limit=300)
    parts = [TokenCounter(OPENAI, choose_encoding(OPENAI), limit=300) for _ in range(3)]
    for line, row in enumerate(ROWS[:900]):
        whole.add(line + 1, row)
        parts[line // 300].add(line % 300 + 1, row)
    merged = pickle.loads(pickle.dumps(parts[0]))
    for number, part in enumerate(parts[1:], 1):
        merged.extend(pickle.loads(pickle.dumps(part)), 300 * number)
    assert merged.counts() == whole.counts()
    merged.add(901, ROWS[901])
    assert merged.counts().tokens.rows == 901
    empty = TokenCounter(OPENAI, choose_encoding(OPENAI)).counts()
    assert (empty.tokens.total, empty.tokens.mean, empty.tokens.histogram) == (0, 0, [])
    assert empty.longest_line is None and find_long_rows(empty, OPENAI) == []


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=200))
def test_percentiles_and_histogram_match_the_row_lengths(lengths: list[int]) -> None:
    rows = [Example(kind="tokens", tokens={"input_ids": [0] * length}) for length in lengths]
    result = count_rows(*rows).tokens
    ordered = sorted(lengths)
    for share, value in ((0.50, result.p50), (0.95, result.p95), (0.99, result.p99)):
        assert sum(item <= value for item in ordered) >= share * len(ordered)
        assert sum(item < value for item in ordered) < share * len(ordered)
    assert (result.total, result.max) == (sum(ordered), ordered[-1])
    edges = [edge for edge, _ in result.histogram]
    assert edges == sorted(set(edges)) and edges[-1] == ordered[-1]
    assert 1 <= len(edges) <= histogram.BUCKETS
    below = 0
    for edge, count in result.histogram:
        below += count
        assert below == sum(item <= edge for item in ordered)


def test_rows_over_the_limit_are_reported_with_lines() -> None:
    short = chat(("user", "Hi"), ("assistant", "Hello"))
    long_answer = chat(("user", "Hi"), ("assistant", "word " * 100))
    long_prompt = chat(("user", "word " * 100), ("assistant", "Hello"))
    result = count_rows(short, long_answer, short, long_prompt, limit=50)
    assert (result.tokens.over_limit, result.over_lines) == (2, [2, 4])
    assert (result.emptied, result.emptied_lines) == (1, [4])
    long_rows = find_long_rows(result, OPENAI)
    assert [item.code for item in long_rows] == ["too_long", "nothing_to_train_after_truncation"]
    assert all(severities()[item.code] == "warning" for item in long_rows)
    assert (long_rows[0].count, long_rows[0].lines, long_rows[1].lines) == (2, [2, 4], [4])
    assert "50 tokens" in long_rows[0].message and "about" not in long_rows[0].message
    guessed = count_rows(long_answer, name="bedrock-claude", limit=50)
    assert "about" in find_long_rows(guessed, get_target("bedrock-claude"))[0].message
    assert find_long_rows(count_rows(short, limit=50), OPENAI) == []
    assert count_rows(short).tokens.limit == OPENAI.max_tokens
    many = count_rows(*[long_answer] * (MAX_SHOWN_LINES + 5), limit=50)
    (row,) = find_long_rows(many, OPENAI)
    assert (row.count, len(row.lines)) == (MAX_SHOWN_LINES + 5, MAX_SHOWN_LINES)
    (row,) = find_long_rows(many, get_target("trl-dpo"))
    assert row.fix and row.fix.endswith("left out where an answer begins after the limit")
    (row,) = find_long_rows(many, get_target("trl-grpo"))
    assert row.fix and row.fix.endswith("longer rows are left out")


def test_row_with_one_answer_token_in_the_limit_is_not_emptied() -> None:
    row = chat(("user", "word " * 20), ("assistant", "Hello you"))
    item = RowCounter(OPENAI, choose_encoding(OPENAI)).count(row)
    assert count_rows(row, limit=item.before + 1).emptied == 0
    assert count_rows(row, limit=item.before).emptied == 1


@pytest.mark.parametrize("measure", ["text", "row"])
def test_sample_interval_contains_the_true_total(measure: str) -> None:
    tally = TokenCounter(OPENAI, choose_encoding(OPENAI))
    pairs, trained = [], []
    for line, row in enumerate(ROWS, 1):
        whole, trained_tokens = tally.add(line, row)
        texts = [m["content"] for m in row.messages]
        size = (
            sum(len(text.encode()) for text in texts)
            if measure == "text"
            else len(msgspec.json.encode(row.messages))
        )
        pairs.append((size, whole))
        trained.append((size, trained_tokens))
    sizes = sum(size for size, _ in pairs)
    for of in (pairs, trained):
        truth = sum(count for _, count in of)
        hits = 0
        for seed in range(300):
            drawn = random.Random(seed).sample(of, 400)
            item = sample_estimate(drawn, sizes, len(of))
            assert item.low <= item.value <= item.high
            hits += item.low <= truth <= item.high
        assert 0.93 <= hits / 300 < 1


@given(
    pairs=st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), min_size=2),
    rest=st.integers(1, 10**6), more=st.integers(1, 10**9),
)  # fmt: skip
def test_sample_estimate_is_at_least_the_counted_tokens(
    pairs: list[tuple[int, int]], rest: int, more: int
) -> None:
    whole = sum(size for size, _ in pairs) + more
    item = sample_estimate(pairs, whole, len(pairs) + rest)
    assert sum(count for _, count in pairs) <= item.low <= item.value <= item.high


def test_full_sample_is_exact_and_single_row_is_rejected() -> None:
    assert sample_estimate([(5, 2)], 5, 1) == stats.TokenEstimate(value=2, low=2, high=2)
    assert sample_estimate([], 0, 0) == stats.TokenEstimate(value=0, low=0, high=0)
    with pytest.raises(ValueError, match="1 row of 10"):
        sample_estimate([(5, 2)], 50, 10)


@settings(max_examples=20)
@given(st.integers(1, 10**12), st.floats(0, 1), st.floats(0, 2))
def test_sample_interval_widens_for_approximate_encodings(
    value: int, below: float, above: float
) -> None:
    guess = stats.TokenEstimate(
        value=value, low=round(value * (1 - below)), high=round(value * (1 + above))
    )
    precise = stats.sampled(count_rows(*ROWS[:20]), guess, guess)
    counted = count_rows(*ROWS[:20], name="bedrock-nova")
    vague = stats.sampled(counted, guess, guess)
    least, _, most = choose_encoding(get_target("bedrock-nova")).factor
    for figures in (precise.tokens, precise.trained):
        assert (figures.low, figures.total, figures.high) == (guess.low, value, guess.high)
        assert not figures.exact, "it is an estimate from a sample"
    for figures in (vague.tokens, vague.trained):
        assert figures.total == value and not figures.exact
        assert figures.low <= least * guess.low and figures.high >= most * guess.high
    assert vague.tokens.p50 == counted.tokens.p50
