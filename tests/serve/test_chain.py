"""The chain of custody: a healthy one holds, and each defect that is made is named with its hop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import custody
from ftwizard.runs.custody import Custody, Hop
from ftwizard.serve import chain
from ftwizard.serve.server_client import Server
from tests.doubles.model_server import ServedModel, serve_model
from tests.helpers import training


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """Return a run of the tiny model whose answers differ from those of its base."""
    root = tmp_path_factory.mktemp("verified")
    return training.train(
        root, "run", training=40, epochs=6, samples={"count": 0}, learning_rate=2e-2, rank=8,
        more={"finish": {"merge": True}},
    )  # fmt: skip


@pytest.fixture
def run(trained: JobFolder, tmp_path: Path) -> Iterator[JobFolder]:
    """Return a copy of the run, which a test may damage."""
    folder = JobFolder(tmp_path / "run")
    shutil.copytree(trained.path, folder.path)
    yield folder


def verify(folder: JobFolder, url: str | None = None, model: str = "run") -> Custody:
    server = Server(url=url, model=model) if url else None
    result = chain.verify(folder, server=server, say=lambda *_, **__: None)
    assert custody.read(folder) == result
    return result


def find_hop(result: Custody, target: str) -> Hop:
    return next(hop for hop in result.hops if hop.target == target)


def test_healthy_chain_holds(run: JobFolder) -> None:
    with serve_model(ServedModel(run.merged), "run") as url:
        result = verify(run, url)
    print("\n".join(custody.describe(result)))
    assert [(hop.source, hop.target, hop.ok) for hop in result.hops] == [
        ("adapter", "merged", True),
        ("merged", "server", True),
    ]
