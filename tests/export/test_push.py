"""Uploads to the Hub: what is said before, what is sent, and who may not."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder, JobRecord, write_json
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.exports import PUSH_RECORD
from tests.doubles import hub_uploads
from tests.doubles.hub_uploads import UploadHub
from tests.e2e import cli
from tests.helpers.cards import make_evaluation, read_metadata
from tests.helpers.results import make_trained, write_judgment

MODEL = {"config.json": b"{}", "model.safetensors": b"weights " * 1000, "tokenizer.json": b"{}"}


@pytest.fixture
def server() -> Iterator[UploadHub]:
    with hub_uploads.serve() as hub:
        hub.cards["owner/model"] = {"license": "llama3.1", "gated": "manual"}
        yield hub


@pytest.fixture
def run(home: Path) -> JobFolder:
    """Return a run with a merged model, an adapter and a card."""
    folder = JobFolder(home / "runs" / "run-1")
    (folder.path / "attempts").mkdir(parents=True)
    write_json(folder.job, JobRecord(kind="train", argv=[], version="0", created=time.time()))
    write_json(folder.trained, make_trained())
    for path in (folder.merged, folder.adapter):
        path.mkdir()
        (path / "ftwizard.json").write_text("{}")
    for name, data in MODEL.items():
        (folder.merged / name).write_bytes(data)
    (folder.adapter / "adapter_model.safetensors").write_bytes(b"small")
    (folder.path / "card.md").write_text("# A card\n")
    return folder


def _push(
    server: UploadHub, *arguments: str, token: str = "hf_write", **more: Any
) -> subprocess.CompletedProcess[str]:
    environment = {
        "HF_ENDPOINT": server.url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    return cli.run("push", "run-1", *arguments, environment=environment, **more)


def test_a_model_is_pushed_privately_with_its_card(server: UploadHub, run: JobFolder) -> None:
    done = _push(server, "--repo", "tickets", "--yes")
    assert done.returncode == 0, done.stderr
    assert server.private == {"ada/tickets": True}
    assert server.repositories["ada/tickets"] == {
        ".gitattributes": b"", "README.md": b"# A card\n", **MODEL
    }  # fmt: skip
    assert "To: ada/tickets, which only you" in done.stdout
    assert "license: llama3.1" in done.stdout and "owner/model is gated" in done.stdout
    assert "Model card: card.md, as you edited it." in done.stdout
    record = json.loads((run.path / PUSH_RECORD).read_text())
    assert record["commit"] == hub_uploads.COMMIT and record["content"] == "merged"


def test_the_adapter_is_pushed_alone(server: UploadHub, run: JobFolder) -> None:
    (run.path / "card.md").unlink()
    options = ("--repo", "ada/tickets-lora", "--adapter", "--public")
    checked = _push(server, *options, "--check", "--json")
    assert checked.returncode == 0 and not server.objects and not server.repositories
    assert (
        "This model was not evaluated: ftwizard eval run-1"
        in _push(server, *options, "--check").stdout
    )
    done = _push(server, *options, "--yes", "--json")
    document = json.loads(done.stdout)
    assert document["plan"] == json.loads(checked.stdout)["plan"]
    assert done.returncode == 0, done.stderr
    assert document["plan"]["files"].keys() == {"adapter_model.safetensors", "README.md"}
    assert document["plan"]["private"] is False and server.private == {"ada/tickets-lora": False}


def test_a_new_card_has_the_terms_of_the_base_and_the_name_of_the_repository(
    server: UploadHub, run: JobFolder
) -> None:
    run.card.unlink()
    run.evaluations.mkdir()
    write_json(run.evaluation, Evaluation(verdict="ship"))
    write_judgment(run, 1, make_evaluation())
    model = {
        "kind": "hub", "name": "owner/model", "fingerprint": "c0ffee", "commit": "c0ffee",
        "said": "owner/model from the Hugging Face Hub (commit c0ffee)",
    }  # fmt: skip
    record = JobRecord(
        kind="train", argv=[], version="0", created=time.time(), inputs={"model": model}
    )
    write_json(run.job, record)
    write_json(run.trained, make_trained(base_name=model["said"]))
    for content, options in (("adapter", ["--adapter"]), ("finetune", [])):
        repo = f"ada/tickets-{content}"
        done = _push(server, "--repo", repo, "--yes", *options)
        assert done.returncode == 0, done.stderr
        assert "Base model: owner/model, license: llama3.1" in done.stdout
        assert "Model card: new, from the record" in done.stdout
        assert "! The evaluation says not to ship this model" in done.stdout
        text = server.repositories[repo]["README.md"].decode()
        data = read_metadata(text)
        assert data["license"] == "llama3.1" and data["base_model"] == "owner/model"
        assert data["base_model_relation"] == content
        assert f"# tickets-{content}\n" in text
        assert "The base model is gated" in text and str(run.path) not in text
    assert not run.card.exists()


@pytest.mark.parametrize(
    ("token", "repo", "sentence"),
    [
        ("", "tickets", "There is no Hugging Face token"),
        ("hf_read", "tickets", "The Hugging Face token “reader” may only read."),
        ("hf_gone", "tickets", "The Hugging Face token is not valid, or has expired."),
        ("hf_fine", "tickets", "The Hugging Face token may not write to ada/tickets."),
        ("hf_write", "lab/tickets", "The Hugging Face token may not write to lab/tickets."),
        ("hf_write", "no such name", "is not a valid repository name."),
    ],
)
def test_who_may_not_write_gets_a_sentence(
    server: UploadHub, run: JobFolder, tmp_path: Path, token: str, repo: str, sentence: str
) -> None:
    environment = {"HF_HOME": str(tmp_path / "nobody")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", environment["HF_HOME"])
        done = _push(server, "--repo", repo, "--yes", token=token)
    assert done.returncode == 1 and sentence in done.stderr
    assert not server.objects and not server.repositories
    assert not (run.path / PUSH_RECORD).exists()


def test_other_content_is_not_overwritten_unless_asked(server: UploadHub, run: JobFolder) -> None:
    server.repositories["ada/tickets"] = {"model.safetensors": b"another", "notes.md": b""}
    server.private["ada/tickets"] = True
    done = _push(server, "--repo", "tickets", "--yes")
    assert done.returncode == 1
    assert "ada/tickets has other content: model.safetensors and 1 more file" in done.stderr
    assert _push(server, "--repo", "tickets", "--yes", "--replace").returncode == 0
    assert server.repositories["ada/tickets"]["model.safetensors"] == MODEL["model.safetensors"]
    server.private["ada/tickets"] = False
    done = _push(server, "--repo", "tickets", "--yes", "--replace")
    assert done.returncode == 1 and "exists and is public" in done.stderr


def test_an_upload_that_breaks_off_commits_nothing_and_goes_on_later(
    server: UploadHub, run: JobFolder
) -> None:
    (run.merged / "model-2.safetensors").write_bytes(b"second")
    server.refuses = "weights"
    done = _push(server, "--repo", "tickets", "--yes")
    assert done.returncode == 1 and "The Hub did not take the upload" in done.stderr
    assert list(server.repositories["ada/tickets"]) == [".gitattributes"]
    sent = dict(server.objects)
    assert list(sent.values()) == [b"second"]
    server.refuses, server.asked[:] = None, []
    assert _push(server, "--repo", "tickets", "--yes").returncode == 0
    assert len([line for line in server.asked if line.startswith("PUT")]) == 1


def test_hub_that_cannot_be_reached_is_a_sentence() -> None:
    from ftwizard.errors import FtwizardError
    from ftwizard.export import push

    with pytest.raises(FtwizardError) as error, push._explain("owner/run"):
        raise ConnectionError("[Errno -2] Name or service not known")
    assert error.value.message.startswith("The Hub is unreachable (ConnectionError); nothing was")


def test_without_a_terminal_nothing_is_sent(server: UploadHub, run: JobFolder) -> None:
    done = _push(server, "--repo", "tickets")
    assert done.returncode == 2 and "needs a terminal" in done.stderr
    assert not server.asked
