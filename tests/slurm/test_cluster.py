"""What a cluster has, as Slurm's commands say."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.cli import slurm as command
from ftwizard.errors import FtwizardError
from ftwizard.slurm import client, cluster
from tests.slurm.test_client import commands, write

__all__ = ["commands"]
SINFO = """\
cpu|2-00:00:00|1:00:00|10|up|(null)|idle|32|128000
gpu*|1-00:00:00|n/a|2|up|gpu:a100:8(S:0-1)|mix|64+|512000+
gpu*|1-00:00:00|n/a|1|up|gpu:a100:8(S:0-1)|drain*|64|512000
gpu*|1-00:00:00|n/a|3|up|gpu:h100:4(S:0,1),shard:8|idle~|96|1024000
old|infinite|n/a|1|drain|gpu:2|idle|16|64000
empty|infinite|n/a|0|up||n/a|0|0
not a line
"""


def test_partitions_are_read_with_nodes_and_gpus_the_default_first() -> None:
    partitions = cluster.parse_partitions(SINFO)
    assert [partition.name for partition in partitions] == ["gpu", "cpu", "empty", "old"]
    gpu, cpu, empty, old = partitions
    assert (gpu.is_default, gpu.is_up, gpu.time_limit, gpu.default_time) == (
        True, True, "1-00:00:00", None)  # fmt: skip
    assert (gpu.nodes, gpu.idle_nodes, gpu.max_gpus, gpu.gpu_types) == (6, 3, 8, ("a100", "h100"))
    assert [group.is_usable for group in gpu.groups] == [True, False, True]
    assert (gpu.groups[0].cpus, gpu.groups[0].memory) == (64, 512_000 * cluster.MB)
    assert (cpu.default_time, cpu.max_gpus, old.is_up, old.time_limit) == (
        "1:00:00",
        0,
        False,
        None,
    )
    assert empty.nodes == 0
    assert cluster.describe_partition(gpu) == (
        "6 nodes (3 idle), 4 × h100 or 8 × a100 each, up to 1-00:00:00"
    )
    assert cluster.describe_partition(old) == (
        "closed, 1 node (1 idle), 2 × GPU each, no time limit"
    )


@given(st.text(), st.lists(st.text(), min_size=9, max_size=9))
def test_any_answer_is_read_without_an_error(text: str, fields: list[str]) -> None:
    for answer in (text, "|".join(fields)):
        for partition in cluster.parse_partitions(answer):
            cluster.describe_partition(partition)
    cluster.parse_gpus(text)


def test_machine_without_slurm_says_so(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(commands))
    with pytest.raises(FtwizardError, match="has no Slurm"):
        cluster.read_cluster()


def test_controller_that_does_not_answer_is_an_error(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(commands, "sbatch", "exit 0")
    write(
        commands, "sinfo", "echo 'slurm_load_partitions: Unable to contact controller' >&2; exit 1"
    )
    with pytest.raises(FtwizardError, match="Unable to contact controller"):
        cluster.read_cluster()
    write(commands, "sinfo", "exec sleep 60")
    monkeypatch.setattr(client, "ASK_S", 0.3)
    with pytest.raises(FtwizardError, match=r"sinfo took longer than 0\.3 s"):
        cluster.read_cluster()


def test_command_without_a_plan_lists_partitions_and_accounts(
    commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(commands, "sbatch", "exit 0")
    write(commands, "sinfo", f"cat <<'EOF'\n{SINFO}EOF")
    write(commands, "sacctmgr", "printf 'physics\\nbio\\nphysics\\n'")
    arguments = argparse.Namespace(plan=None, json=False)
    assert command.slurm(arguments) == 0
    text = capsys.readouterr().out
    assert "gpu (default): 6 nodes (3 idle)" in text and "3 idle: 4 × h100 each, 96 cores" in text
    assert "Your accounts: bio, physics" in text
    write(commands, "sacctmgr", "echo 'no accounting' >&2; exit 1")
    assert command.slurm(argparse.Namespace(plan=None, json=True)) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["accounts"] == [] and document["partitions"][0]["name"] == "gpu"


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("90", 90), ("90:30", 90.5), ("12:00:00", 720), ("1-00", 1440), ("1-02:30", 1590),
     ("2-00:00:30", 2880.5), ("infinite", None), ("", None), ("1:2:3:4", None)],
)  # fmt: skip
def test_times_are_read_as_slurm_writes_them(time: str, minutes: float | None) -> None:
    assert cluster.to_minutes(time) == minutes


@pytest.mark.parametrize(
    ("time", "answer", "limit"),
    [
        (90, "1:00:00", "1:00:00"),
        ("1-00:00:00", "12:00:00", "12:00:00"),
        (60, "1:00:00", None),
        (90, "infinite", None),
        (None, "1:00:00", None),
        (90, "", None),
    ],
)
def test_time_over_the_partitions_limit_is_noticed(
    commands: Path, time: str | int | None, answer: str, limit: str | None
) -> None:
    write(commands, "sinfo", f"echo '{answer}'")
    assert cluster.find_exceeded_limit("gpu", time) == limit
    write(commands, "sinfo", "exit 1")
    assert cluster.find_exceeded_limit("gpu", time) is None
