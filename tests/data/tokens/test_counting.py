"""The same rows by several tokenizers: exact for small files, close for large ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.data.checks import run
from ftwizard.data.io import inspect
from ftwizard.data.platforms import get_target
from ftwizard.data.tokens import counting, tokenizers
from ftwizard.data.tokens.counting import TargetEncoding, recount

OPENAI = get_target("openai-sft"), tokenizers.choose_encoding(get_target("openai-sft"))
LLAMA = (
    get_target("together-sft"),
    tokenizers.choose_encoding(get_target("together-sft"), "llama-3.1-8b"),
)


def write(file: Path, texts: list[str]) -> Path:
    rows = (
        {
            "messages": [
                {"role": "user", "content": one},
                {"role": "assistant", "content": one[::-1]},
            ]
        }
        for one in texts
    )
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return file


def exact(file: Path, way: TargetEncoding, model: str | None = None) -> int:
    what = inspect.inspect(file)
    found = counting.count_tokens(
        file, what, "openai-chat", way[0], None, say=lambda *_: None, model=model
    )
    return found.tokens.total


@settings(max_examples=20)
@given(texts=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=8))
def test_of_a_small_file_every_row_is_counted(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    file = write(tmp_path_factory.mktemp("rows") / "rows.jsonl", texts)
    total = exact(file, OPENAI)
    found = recount(
        file,
        inspect.inspect(file),
        "openai-chat",
        OPENAI,
        total,
        {"same": OPENAI, "llama": LLAMA},
    )
    assert found["same"].value == total
    assert found["llama"].value == exact(file, LLAMA, "llama-3.1-8b")
    for one in found.values():
        assert one.low <= one.value <= one.high


def test_of_a_large_one_rows_from_all_over_it(tmp_path: Path) -> None:
    words = ["Where is my order?", "Wo ist meine Bestellung?", "注文はどこですか。", "x = f(y) + 1"]
    file = write(tmp_path / "rows.jsonl", [f"{words[n % 4]} {n}" for n in range(12_000)])
    total = exact(file, OPENAI)
    found = recount(
        file, inspect.inspect(file), "openai-chat", OPENAI, total, {"llama": LLAMA}, blocks=4
    )
    true = exact(file, LLAMA, "llama-3.1-8b")
    assert found["llama"].low < true < found["llama"].high
    assert abs(found["llama"].value / true - 1) < 0.03


def test_where_no_row_can_be_read_nothing_is_said(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"foo": 1}\n')
    what = inspect.inspect(file)
    assert run.guess_format(file, what, None)
    assert recount(file, what, "openai-chat", OPENAI, 10, {"llama": LLAMA}) == {}
