"""The nodes of a job before they train together: what each lacks, or has in another version."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard import __version__
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.slurm import client
from ftwizard.train import node_check, slurm_node
from tests.slurm.test_client import commands, write

__all__ = ["commands"]
TOKEN = "word"
NODES = ["node1", "node2"]


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path / "a run")
    folder.path.mkdir()
    folder.token.write_text(TOKEN)
    return folder


def write_srun(commands: Path, node2: str = "") -> None:
    """Write an ``srun`` that runs a command as each node; ``node2`` is executed before on the second."""
    write(
        commands,
        "srun",
        f"""while [[ $1 = --* ]]; do shift; done
SLURMD_NODENAME=node1 "$@" &
export SLURMD_NODENAME=node2
{node2}
"$@"
wait""",
    )


def check(folder: JobFolder) -> None:
    node_check.require_equal_nodes(folder, sys.executable, TOKEN, NODES)


def test_nodes_with_the_same_environment_pass(folder: JobFolder, commands: Path) -> None:
    write_srun(commands)
    check(folder)


@pytest.mark.parametrize(
    ("node2", "message", "hint"),
    [
        ('set -- "${@:1:5}" /nowhere "${@:7}"', "Node node2 does not have the run's folder", "FTWIZARD_HOME"),
        ('set -- "${@:1:6}" /no/python "${@:8}"', "Node node2 does not have this Python: /no/python.", "that all nodes share"),
        ('set -- "${@:1:7}" "import nothing_here" "${@:9}"', "ModuleNotFoundError: No module named 'nothing_here'", "that all nodes share"),
        ('f() { sed "s/torch\\": \\"[^\\"]*/torch\\": \\"2.0.1/"; }; "$@" | f; wait; exit', "Node node2 has torch 2.0.1, and node1 has ", "same packages"),
        ('f() { sed "s/wizard\\": \\"[^\\"]*/wizard\\": \\"9.9/"; }; "$@" | f; wait; exit', f"Node node2 has ftwizard 9.9, and node1 has {__version__}.", "same packages"),
        ("exit 1", "node2 did not answer, so the run was not started.", "scontrol show node node2"),
        ("echo 'srun: error: Task launch failed' >&2; exit 1", "not started: srun: error: Task launch failed", "ftwizard resume a run"),
    ],
)  # fmt: skip
def test_node_that_differs_is_named_with_what_it_lacks(
    folder: JobFolder, commands: Path, node2: str, message: str, hint: str
) -> None:
    write_srun(commands, node2)
    with pytest.raises(FtwizardError) as raised:
        check(folder)
    assert message in raised.value.message
    assert hint in raised.value.hint
    assert (raised.value.code == node_check.SILENT) == ("did not answer" in raised.value.message)


def test_node_that_hangs_is_waited_for_and_named(
    folder: JobFolder, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_srun(commands, "trap '' TERM; exec sleep 300")
    monkeypatch.setattr(node_check, "CHECK_S", 2.0)
    monkeypatch.setattr(client, "ASK_S", 0.2)
    began = time.monotonic()
    with pytest.raises(FtwizardError, match="node2 did not answer"):
        check(folder)
    assert time.monotonic() - began < 50, "it does not wait for the node's end"


def test_missing_srun_is_a_sentence(
    folder: JobFolder, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(commands))
    with pytest.raises(FtwizardError, match="srun: No such file or directory"):
        check(folder)


def test_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = 4242
    port = slurm_node.find_port(job_id)
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        other = slurm_node.find_port(job_id)
        assert other != port
        assert 20_000 <= other < 32_768, "below the ports of connections"
        monkeypatch.setattr(slurm_node, "PORT_STRIDE", 0)
        with pytest.raises(FtwizardError, match="No port of"):
            slurm_node.find_port(port - slurm_node.FIRST_PORT)


@given(st.text())
def test_any_output_of_nodes_is_read_without_an_error(text: str) -> None:
    for line in (text, f"node1\tready\t{text}", f"node1\t{text}\t", f"{text}\tno_python\t{text}"):
        node_check.find_problem(node_check.parse_reports(line))
