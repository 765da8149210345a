"""Two new files, every row as it was, in order, in one of them; or none."""

from __future__ import annotations

import errno
import gzip
import json
import os
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftwizard.__main__ import main
from ftwizard.data import new_file, split_file
from ftwizard.data.split import SplitPart
from ftwizard.data.split_file import SplitReport
from ftwizard.errors import FtwizardError


def lines(count: int) -> list[bytes]:
    """Return rows that no program writes alike: spaces, escapes, order of keys, numbers."""
    forms = (
        '{{"prompt": "Number {n}?", "completion":"{n} \\u00e9"}}',
        '{{ "completion" : "é {n}",\t"prompt":"What about {n}?"  ,"score":1.50e3 }}',
        '{{"prompt":"And {n}\\/{n}?","completion":"{n}","id":123456789012345678901234567890}}',
    )
    return [forms[n % 3].format(n=n).encode() for n in range(count)]


def divided(path: Path, skip_bad: bool = False, share: float = 0.2, **more: Any) -> SplitReport:
    return split_file.split_file(
        path, "auto", outs(path), validation=share, seed=1, skip_bad=skip_bad,
        say=lambda *_, **__: None, **more,
    )  # fmt: skip


def outs(path: Path) -> dict[SplitPart, Path]:
    return {"train": path.parent / "a.out", "validation": path.parent / "b.out"}


def in_order(parts: list[list[bytes]], whole: list[bytes]) -> bool:
    """Say whether ``parts`` divide ``whole``, each in its order."""
    return sorted(chain.from_iterable(parts)) == sorted(whole) and all(
        part == [row for row in whole if row in set(part)] for part in parts
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \n"])
def test_lines_stay_as_they_were(tmp_path: Path, end: bytes) -> None:
    path, given_rows = tmp_path / "rows.jsonl", lines(50)
    path.write_bytes(b"\xef\xbb\xbf" + end.join(given_rows))
    result = divided(path)
    parts = [out.read_bytes().split(b"\n") for out in outs(path).values()]
    assert [part.pop() for part in parts] == [b"", b""]
    assert in_order(parts, given_rows)
    assert [len(part) for part in parts] == [result.train.rows, result.validation.rows] == [40, 10]
    assert (result.written_as, result.rows, result.skipped) == ("jsonl", 50, 0)
    assert result.shared_prompts == 0


@pytest.mark.parametrize("between", [b",", b",\n  ", b"\n,\n"])
def test_an_array_stays_one(tmp_path: Path, between: bytes) -> None:
    path, given_rows = tmp_path / "rows.json", lines(20)
    path.write_bytes(b"[\n" + between.join(given_rows) + b"]")
    assert divided(path).written_as == "array"
    whole = [row for out in outs(path).values() for row in json.loads(out.read_bytes())]
    assert sorted(whole, key=str) == sorted(map(json.loads, given_rows), key=str)
    raw = b"".join(out.read_bytes() for out in outs(path).values())
    assert all(row in raw for row in given_rows), "byte for byte"


def test_what_is_packed_or_a_table_becomes_lines(tmp_path: Path) -> None:
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\n".join(lines(20))))
    divided(packed)
    assert outs(packed)["train"].read_bytes().count(b"\n") == 16
    for out in outs(packed).values():
        out.unlink()
    table = tmp_path / "rows.csv"
    table.write_text("prompt,completion\n" + "".join(f'"Is {n}, it?",{n}\n' for n in range(20)))
    assert divided(table).written_as == "jsonl"
    first = json.loads(outs(table)["train"].read_text().splitlines()[0])
    assert set(first) == {"prompt", "completion"}


def test_a_bad_row_is_named_or_left_out(tmp_path: Path) -> None:
    path, good = tmp_path / "rows.jsonl", lines(20)
    path.write_bytes(b"\n".join([*good[:3], b"{", *good[3:]]))
    with pytest.raises(FtwizardError, match="1 of 21 rows") as error:
        divided(path)
    assert "line 4" in error.value.message and "skip-bad-rows" in error.value.hint
    assert not any(out.exists() for out in outs(path).values())
    result = divided(path, skip_bad=True)
    assert (result.rows, result.skipped) == (20, 1)
    assert in_order([out.read_bytes().split(b"\n")[:-1] for out in outs(path).values()], good)


@pytest.mark.parametrize("kind", ["preference", "kto", "text", "tokens", "prompt"])
def test_rows_of_every_kind_are_divided(tmp_path: Path, kind: str) -> None:
    rows: dict[str, Any] = {
        "preference": lambda n: {"prompt": f"q{n}", "chosen": "a", "rejected": "b"},
        "kto": lambda n: {"prompt": f"q{n}", "completion": "a", "label": n % 2 == 0},
        "text": lambda n: {"text": f"number {n}"},
        "tokens": lambda n: {"input_ids": [n, n + 1]},
        "prompt": lambda n: {"prompt": f"q{n}"},
    }
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(rows[kind](n)) + "\n" for n in range(40)))
    result = divided(path)
    assert (result.train.rows, result.validation.rows, result.shared_prompts) == (32, 8, 0)
    if kind == "kto":
        assert result.kinds == {"unwanted": {"train": 16, "validation": 4},
                               "wanted": {"train": 16, "validation": 4}}  # fmt: skip


@pytest.mark.parametrize("taken", ["a.out", "b.out"])
def test_nothing_is_overwritten_even_if_it_comes_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines(20)))
    late = tmp_path / taken
    late.symlink_to("nowhere")
    with pytest.raises(FtwizardError, match="already exists"):
        divided(path)
    late.unlink()
    index = new_file.publish

    def place_late(draft: Path, target: Path) -> None:
        if target == late:
            late.write_text("mine")
        index(draft, target)

    monkeypatch.setattr(new_file, "publish", place_late)
    with pytest.raises(FtwizardError, match="created by another process"):
        divided(path)
    assert late.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["rows.jsonl", taken])


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "No disk space is left"), (errno.EACCES, "Permission")]
)
def test_a_disk_that_refuses_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def fail(*_: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines(20)))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((FtwizardError, OSError), match=reason):
        divided(path)
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_file_system_without_links_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> NoReturn:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines(20)))
    monkeypatch.setattr(os, "link", fail)
    assert divided(path).train.rows == 16
    assert {p.name for p in tmp_path.iterdir()} == {"rows.jsonl", "a.out", "b.out"}


def test_a_file_that_changes_meanwhile_is_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines(20)))

    def say(phase: str, **_: Any) -> None:
        if phase == "writing":
            path.write_bytes(b"\n".join(lines(21)))

    with pytest.raises(FtwizardError, match="chang"):
        split_file.split_file(
            path, "auto", outs(path), validation=0.2, seed=1, skip_bad=False, say=say
        )
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_one_prompt_alone_cannot_be_divided(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' * 9)
    with pytest.raises(FtwizardError, match="9 rows in 1 group"):
        divided(path)
    assert not outs(path)["train"].exists()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.text(max_size=20), st.text(min_size=1, max_size=20)), min_size=8),
    st.floats(0.05, 0.5),
)
def test_whatever_rows_say_each_is_in_one_file_and_prompts_are_in_one(
    tmp_path: Path, items: list[tuple[str, str]], share: float
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"question": a, "answer": b, "n": n} for n, (a, b) in enumerate(items)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for out in outs(path).values():
        out.unlink(missing_ok=True)
    try:
        result = divided(path, skip_bad=True, share=share)
    except FtwizardError:
        return
    parts = [
        [json.loads(line) for line in out.read_text().splitlines()] for out in outs(path).values()
    ]
    assert len(parts[0]) + len(parts[1]) + result.skipped == len(rows)
    asked = [{" ".join(row["question"].casefold().split()) for row in part} for part in parts]
    assert not (asked[0] & asked[1]) - {""}, "what has no prompt has none in common"


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": f"{n}\x1b[2J?", "completion": ("\x1b[31myes", "no")[n % 2]} for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    a, b = (str(out) for out in outs(path).values())
    arguments = ["split", str(path), "--out-train", a, "--out-validation", b]
    assert main([*arguments, "--validation", "0.25"]) == 0
    printed = capsys.readouterr().out
    assert "40 rows (prompt and completion), no related rows" in printed and "\x1b" not in printed
    assert "no" in printed and f"{30:>9,}  {a}" in printed
    assert main([*arguments, "--json"]) == 1
    assert "already exists" in json.loads(capsys.readouterr().out)["error"]["message"]
    for out in outs(path).values():
        out.unlink()
    assert main([*arguments, "--json", "--seed", "7"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["train"]["rows"], document["validation"]["rows"], document["seed"]) == (
        36,
        4,
        7,
    )


@pytest.mark.parametrize(
    "more", [["--validation", "0"], ["--validation", "0.6"], ["--validation", "x"],
             ["--seed", "x"], ["--allow", "much"], ["--out-validation", "a.out"]]
)  # fmt: skip
def test_wrong_usage_is_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines(20)))
    text = ["split", "rows.jsonl", "--out-train", "a.out", "--out-validation", "b.out", *more]
    try:
        code = main(text)
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == 2 and [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]
