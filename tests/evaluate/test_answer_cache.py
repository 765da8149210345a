"""Cache of answers: privacy, several processes, kills, damage, and its bound."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftwizard.evaluate import answer_cache
from ftwizard.evaluate.answer_cache import AnswerCache, make_key
from ftwizard.jobs.folder import hash_file
from ftwizard.runs.evaluation import ItemAnswer, ItemScore

WRITER = """
import sys
from pathlib import Path
from ftwizard.evaluate.answer_cache import AnswerCache
from ftwizard.jobs.folder import hash_file
from ftwizard.runs.evaluation import ItemAnswer
cache, name, count = AnswerCache(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for n in range(count):
    cache.put(f"{name}{n}", ItemAnswer(item="i", text=f"{name} {n}"))
    print(n, flush=True)
"""


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_answers_come_back_without_their_score(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "answers.sqlite"
    cache = AnswerCache(path)
    answer = ItemAnswer(item="i", text="ä\x00", ended=False, tokens=3, loss=0.5, loss_tokens=2)
    scored = ItemAnswer(item="j", text="t", score=ItemScore(value=1.0, passed=True))
    cache.put("a", answer)
    cache.put("b", scored)
    keys = ["a", "b", *map(str, range(1200))]
    assert cache.get(keys) == {"a": answer, "b": ItemAnswer(item="j", text="t")}
    cache.close()
    assert AnswerCache(path).get(["a"]) == {"a": answer}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    writers = [start_writer(path, name, 150) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    kept = AnswerCache(path).get([f"{name}{n}" for name in "ab" for n in range(150)])
    assert len(kept) == 300
    assert kept["b7"].text == "b 7"


def test_a_killed_process_leaves_what_it_reported(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    writer = start_writer(path, "a", 100_000)
    assert writer.stdout
    last = -1
    for line in writer.stdout:
        last = int(line)
        if last >= 40:
            break
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    kept = AnswerCache(path).get([f"a{n}" for n in range(last + 1)])
    assert len(kept) == last + 1


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 9000]
)
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(content)
    AnswerCache(path).put("a", ItemAnswer(item="i", text="t"))
    assert AnswerCache(path).get(["a"])


def test_a_folder_that_cannot_be_used_costs_only_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for cache in (AnswerCache(tmp_path / "file" / "answers.sqlite"), AnswerCache(None)):
        cache.put("a", ItemAnswer(item="i", text="t"))
        assert cache.get(["a"])["a"].text == "t", "within one evaluation"
        cache.close()


def test_a_busy_file_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_cache, "BUSY_S", 0.1)
    cache = AnswerCache(tmp_path / "answers.sqlite")
    other = AnswerCache(tmp_path / "answers.sqlite")
    assert other._database
    other._database.execute("BEGIN EXCLUSIVE")
    cache.put("a", ItemAnswer(item="i", text="t"))
    other._database.rollback()
    cache.put("b", ItemAnswer(item="i", text="t"))
    assert set(cache.get(["a", "b"])) == {"b"}


def test_the_longest_unused_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_cache, "MAX_ANSWERS", 10)
    path = tmp_path / "answers.sqlite"
    cache = AnswerCache(path)
    for n in range(12):
        cache.put(str(n), ItemAnswer(item="i", text=str(n)))
    time.sleep(0.01)
    cache.get(["0"])
    cache.close()
    kept = AnswerCache(path).get([str(n) for n in range(12)])
    assert list(map(int, sorted(kept, key=int))) == [0, *range(5, 12)]


def test_keys_depend_on_every_part() -> None:
    parts = [("a", {"x": 1, "y": 2}, 3), ("a", {"x": 1, "y": 2}, 4), ("a", {"x": 2, "y": 2}, 3)]
    assert len({make_key(*part) for part in parts}) == 3
    assert make_key({"x": 1, "y": 2}) == make_key({"y": 2, "x": 1})


def test_weights_are_hashed_once_per_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    weights = model / "model.safetensors"
    weights.write_bytes(b"a" * 1000)
    (model / "config.json").write_text("{}")
    hashed: list[str] = []

    def count(path: Path) -> str:
        hashed.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(answer_cache, "hash_file", count)
    cache = AnswerCache(tmp_path / "answers.sqlite")
    first = cache.hash_weights(model)
    assert cache.hash_weights(model) == first
    assert hashed.count("model.safetensors") == 1
    weights.write_bytes(b"b" * 1000)
    assert cache.hash_weights(model) != first
    weights.write_bytes(b"a" * 1000)
    assert cache.hash_weights(model) == first
    (model / "config.json").write_text('{"rope": 1}')
    assert cache.hash_weights(model) != first
