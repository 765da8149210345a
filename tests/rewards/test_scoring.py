"""Reward functions of a user in their process: rewards, limits, and what goes wrong in them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.rewards.reward import Batch, Reward, RewardError, name_uniquely
from ftwizard.rewards.scoring import Scorer, sum_rewards


def make_batch(completions: list[str], lines: list[int] | None = None) -> Batch:
    return Batch(
        prompts=[[{"role": "user", "content": f"{n}?"}] for n in range(len(completions))],
        completions=completions,
        columns={"reference_answer": completions[:], "topic": ["é"] * len(completions)},
        lines=lines or list(range(11, 11 + len(completions))),
    )


@contextmanager
def open_function(
    folder: Path, body: str, *, head: str = "", name: str = "score", time_limit_s: float = 20.0,
    memory_gb: float = 2.0, signature: str = "completions, **kwargs",
) -> Iterator[Scorer]:  # fmt: skip
    path = folder / "my_rewards.py"
    path.write_text(f"{head}\ndef score({signature}):\n    {body}\n")
    reward = Reward(function=f"{path}:{name}", time_limit_s=time_limit_s, memory_gb=memory_gb)
    with Scorer(reward) as scorer:
        yield scorer


def test_a_function_gets_prompts_completions_and_columns_as_in_trl(tmp_path: Path) -> None:
    body = """print("noise")
    assert prompts[1] == [{"role": "user", "content": "1?"}] and topic[0] == "é"
    return [float(c[0]["content"] == r) or None for c, r in zip(completions, reference_answer)]"""
    signature = "prompts, completions, reference_answer, topic, unused=None"
    with open_function(tmp_path, body, signature=signature) as scorer:
        batch = make_batch(["a", "b"])
        first = scorer.score(batch)
        second = scorer.score(
            Batch(
                prompts=batch.prompts, completions=["a", "x"], columns=batch.columns, lines=[1, 2]
            )
        )
        assert scorer.printed.startswith("noise")

    assert (first, second) == ([1.0, 1.0], [1.0, None])


def test_modules_next_to_the_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "helper_of_rewards.py").write_text("value = 0.5\n")
    head = "import helper_of_rewards"
    body = "return [helper_of_rewards.value] * len(completions)"
    with open_function(tmp_path, body, head=head) as scorer:
        assert scorer.score(make_batch(["a", "b"])) == [0.5, 0.5]


def test_an_async_function_is_awaited(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text("async def score(completions, **kwargs):\n    return [2]\n")
    with Scorer(Reward(function=f"{tmp_path / 'my.py'}:score")) as scorer:
        assert scorer.score(make_batch(["a"])) == [2.0]


def test_an_async_function_shares_its_semaphore_between_batches(tmp_path: Path) -> None:
    """It belongs to the event loop that first waited for it, as do most clients of APIs."""
    (tmp_path / "my.py").write_text(
        "import asyncio\n"
        "free = asyncio.Semaphore(1)\n"
        "async def one(text):\n"
        "    async with free:\n"
        "        await asyncio.sleep(0)\n"
        "        return len(text)\n"
        "async def score(completions, **kwargs):\n"
        "    return await asyncio.gather(*(one(c[0]['content']) for c in completions))\n"
    )
    with Scorer(Reward(function=f"{tmp_path / 'my.py'}:score")) as scorer:
        for texts in (["a", "bb"], ["ccc", ""]):
            assert scorer.score(make_batch(texts)) == [len(text) for text in texts]


@pytest.mark.parametrize(
    ("body", "problem", "says"),
    [
        ("raise ValueError('no\x1b')", "exception", "raised ValueError: no␛ (its line 3), for the row at line 11"),
        ("return [1 / (c[0]['content'] != 'b') for c in completions]", "exception", "division by zero (its line 3), for the row at line 12"),
        ("import sys; sys.exit(3)", "exception", "SystemExit: 3"),
        ("return None", "not_a_list", "it returned None"),
        ("return 1.0", "not_a_list", "type float"),
        ("return [1]", "wrong_length", "1 reward for 3 completions"),
        ("return [1, 2, '3']", "not_a_number", "type str, for the row at line 13"),
        ("return [1, float('nan'), 1]", "nan", "nan, for the row at line 12"),
        ("return [1, 1, 1e308 * 10]", "nan", "inf, for the row at line 13"),
        ("import os; os._exit(7)", "crashed", "exit code 7"),
        ("import os; os.abort()", "crashed", "SIGABRT"),
        ("return [len(bytearray(10**10))] * 3", "memory", "ran out of memory"),
        ("import os; os.write(1, b'[1]'); os.close(1); os.close(2); os._exit(0)", "crashed", "ended"),
    ],
)  # fmt: skip
def test_a_function_that_fails_is_a_sentence_with_the_row(
    tmp_path: Path, body: str, problem: str, says: str
) -> None:
    with open_function(tmp_path, body) as scorer, pytest.raises(RewardError) as caught:
        scorer.score(make_batch(["a", "b", "c"]))

    assert caught.value.problem == problem
    assert says in caught.value.message
    assert "score (my_rewards.py)" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        "import time; time.sleep(600)",
        "while True: pass",
        "import subprocess; subprocess.run(['sleep', '600'])",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    ],
)
def test_a_function_that_takes_too_long_is_ended_with_its_children(
    tmp_path: Path, body: str
) -> None:
    with open_function(tmp_path, body, time_limit_s=0.5) as scorer:
        with pytest.raises(RewardError) as caught:
            scorer.score(make_batch(["a", "b"], lines=[30, 4]))
        assert caught.value.problem == "timeout"
        assert "lines 4 to 30" in caught.value.message
        with pytest.raises(RewardError):  # in a new process
            scorer.score(make_batch(["a" * 200_000] * 20))


def test_a_function_that_forks_gives_its_rewards_once(tmp_path: Path) -> None:
    body = "import os; os.fork(); return [float(len(c[0]['content'])) for c in completions]"
    with open_function(tmp_path, body) as scorer:
        for length in range(5):
            assert scorer.score(make_batch(["x" * length] * 2)) == [length] * 2


def test_a_function_that_prints_without_end_is_scored(tmp_path: Path) -> None:
    body = "print('x' * 3_000_000); return [1] * len(completions)"
    with open_function(tmp_path, body) as scorer:
        for _ in range(3):
            assert scorer.score(make_batch(["a"])) == [1.0]
        assert set(scorer.printed) == {"x"}


def test_the_process_ends_when_its_parent_does(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    body = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    child = os.fork()
    if child == 0:
        with open_function(tmp_path, body) as scorer:
            scorer.score(make_batch(["a"]))
        os._exit(0)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (pid_file.exists() and pid_file.read_text()):
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pid = int(pid_file.read_text())
    while time.monotonic() < deadline and Path(f"/proc/{pid}/cmdline").exists():
        if not Path(f"/proc/{pid}/cmdline").read_bytes():
            break  # ended, and not yet awaited
        time.sleep(0.05)

    exists = Path(f"/proc/{pid}/cmdline").exists()
    assert not exists or not Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"head": "import no_such_module_anywhere"}, "No module named"),
        ({"head": "def broken(:"}, "could not be loaded: SyntaxError: invalid syntax (line 1)"),
        ({"head": "import os; os._exit(2)"}, "exit code 2"),
        ({"name": "scored"}, "is not a function of that file"),
        ({"signature": "completions, solution"}, "needs the argument “solution”"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, change: dict[str, str], says: str
) -> None:
    with (
        open_function(tmp_path, "return [1]", **change) as scorer,  # type: ignore[arg-type]
        pytest.raises(RewardError) as caught,
    ):
        scorer.score(make_batch(["a"]))

    assert says in caught.value.message
    assert caught.value.hint


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FtwizardError, match=r"none\.py does not exist"):
        Scorer(Reward(function=f"{tmp_path / 'none.py'}:score"))


def test_keys_of_the_user_are_not_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    body = "import os; return [float('OPENAI_API_KEY' in os.environ)]"
    with open_function(tmp_path, body) as scorer:
        assert scorer.score(make_batch(["a"])) == [0.0]


def test_a_sum_is_weighted_and_leaves_out_what_does_not_apply() -> None:
    rewards = [
        Reward(function="exact_answer", weight=2),
        Reward(function="json_valid", weight=-0.5),
    ]

    assert sum_rewards(rewards, [1.0, 1.0]) == 1.5
    assert sum_rewards(rewards, [None, 1.0]) == -0.5
    assert sum_rewards(rewards, [None, None]) is None


def test_functions_of_one_name_are_told_apart() -> None:
    names = ["length_limit", "a.py:length_limit", "x.py:f"]

    assert name_uniquely([Reward(function=name) for name in names]) == [
        "length_limit", "length_limit_2", "f",
    ]  # fmt: skip
