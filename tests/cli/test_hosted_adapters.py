"""An adapter that a platform trained: its download, and the commands that it goes through like a local one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.__main__ import main
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import hosted
from ftwizard.runs.merge_proof import read_proof
from ftwizard.runs.remote import RemoteJob
from ftwizard.runs.result import RunResult, read_result, read_trained
from tests.doubles.together_service import KEY, Scenario, TogetherService, serve_together
from tests.helpers.adapters import write_adapter, write_llama
from tests.helpers.followed_jobs import create_run, run_worker
from tests.helpers.hosted import make_ended, make_remote
from tests.helpers.jobs import events

pytestmark = pytest.mark.timeout(300)
HUB_NAME = "meta-llama/Meta-Llama-3.1-8B-Instruct"
"""Name on the Hub of the model that Together calls …-Reference."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    """Return an adapter with the files that Together packs: no tokenizer."""
    folder = write_adapter(base, base.with_name("adapter"))
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(base)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert not (folder / "tokenizer_config.json").exists()
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def service(
    adapter: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TogetherService]:
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.02")
    with serve_together(Scenario(adapter=str(adapter))) as service:
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_BASE_URL", service.address)
        yield service


def put_in_cache(base: Path, cache: Path) -> None:
    folder, commit = cache / f"models--{HUB_NAME.replace('/', '--')}", "c" * 40
    shutil.copytree(base, folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)


def train(root: Path, **more: Any) -> JobFolder:
    folder = create_run(root, "together", **more)
    result = run_worker(folder)
    assert isinstance(result, RunResult), result
    return folder


def find(folder: JobFolder, code: str) -> list[dict[str, Any]]:
    return [event for event in events(folder, "finding") if event["code"] == code]


def test_an_adapter_is_merged_by_a_command_with_its_base(
    service: TogetherService, base: Path, adapter: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = train(tmp_path)
    weights = "adapter_model.safetensors"
    assert (folder.adapter / weights).read_bytes() == (adapter / weights).read_bytes()
    assert not folder.trained.exists() and not (folder.path / "downloaded").exists()
    (finding,) = find(folder, "not_merged")
    assert finding["action"] == f"ftwizard merge {folder.id}"
    assert HUB_NAME in finding["message"] and finding["severity"] == "info"
    assert hosted.read_hosted(folder), "its model is asked at the platform"

    assert main(["export", folder.id, "--to", "vllm"]) == 1
    assert f"ftwizard merge {folder.id}" in capsys.readouterr().err
    assert main(["merge", folder.id]) == 1
    assert f"ftwizard merge {folder.id} --base" in capsys.readouterr().err
    assert not folder.trained.exists()

    (folder.adapter / "tokenizer_config.json").write_text("{}")  # without a vocabulary
    assert main(["merge", folder.id, "--base", str(base), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["proof"]["verdict"] == "proved"
    trained, result = read_trained(folder), read_result(folder)
    assert trained and trained.base == str(base) and trained.method == "lora"
    assert trained.targets == ["q_proj"] and trained.step == 20 and trained.eval_loss is not None
    assert set(trained.hashes) >= {"adapter_config.json", weights, "tokenizer_config.json"}
    assert result and result.merged and result.remote
    assert main(["merge", folder.id]) == 0, "its base is recorded"


def test_an_adapter_is_merged_at_the_end_where_its_base_is(
    service: TogetherService, base: Path, cache: Path, tmp_path: Path
) -> None:
    put_in_cache(base, cache)
    folder = train(tmp_path, finish={"compare": False, "export": ["vllm"]})
    result, proof = read_result(folder), read_proof(folder.merged)
    assert proof and proof.verdict == "proved"
    assert result and result.merged and result.training and result.remote
    assert (folder.exports / "vllm").is_dir()
    assert not find(folder, "not_merged") and not find(folder, "export_failed")


def test_an_adapter_for_another_model_merges_nothing(
    service: TogetherService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    from tests.helpers.adapters import write_gpt2

    write_gpt2(other)
    folder = train(tmp_path)
    assert main(["merge", folder.id, "--base", str(other)]) == 1
    assert not folder.trained.exists() and not folder.merged.exists()


def test_the_platform_may_not_name_a_folder(tmp_path: Path) -> None:
    from ftwizard.export import platform_adapter

    folder = make_ended(tmp_path / "run", make_remote(provider="together", model="/etc/model"))
    folder.adapter.mkdir()
    config = folder.adapter / "adapter_config.json"
    for name in ("../base", str(tmp_path), "a/b/c", "-x/y"):
        config.write_text(json.dumps({"base_model_name_or_path": name}))
        record = make_remote(provider="together", model="/etc/model")
        assert platform_adapter.list_base_names(folder, record) == []
    config.write_text(json.dumps({"base_model_name_or_path": "Qwen/Qwen3-8B"}))
    assert platform_adapter.list_base_names(folder, record) == ["Qwen/Qwen3-8B"]


def test_a_run_without_its_weights_says_how_to_get_them(home: Path) -> None:
    folder = make_ended(home / "runs" / "one", make_remote(provider="together"))
    with pytest.raises(FtwizardError, match="were not downloaded") as raised:
        hosted.require_local(folder, "merged")
    assert raised.value.hint == "Download them: ftwizard download one"


def test_a_merged_run_is_asked_here_unless_it_is_served(home: Path) -> None:
    folder = make_ended(home / "runs" / "one", make_remote(provider="together"))
    assert isinstance(hosted.read_served(folder), RemoteJob)
    folder.trained.write_text("{}")
    assert hosted.read_served(folder) is None and hosted.list_keys(folder) == ()


@pytest.mark.slow
def test_a_merged_adapter_is_verified_evaluated_and_asked_like_a_local_one(
    service: TogetherService, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(
        tmp_path, finish={"compare": True}, data={
            "files": {"train": "rows.jsonl"}, "split": {"validation": 0.1, "test": 0.2}
        },
    )  # fmt: skip
    (finding,) = find(folder, "tuned_not_asked")
    assert f"ftwizard deploy {folder.id}" in finding["message"]
    assert main(["merge", folder.id, "--base", str(base), "--json"]) == 0
    behavior = json.loads(capsys.readouterr().out)["proof"]["behavior"]
    assert behavior["rows"] == 8
    assert main(["verify", folder.id, "--json"]) == 4
    (hop,) = json.loads(capsys.readouterr().out)["hops"]
    assert hop["cause"] == "no_canary", "random weights answer like their base"
    assert hop["token_ids_equal"] and hop["nmse"] < 1e-6
    assert main(["eval", folder.id, "--max-items", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sets"]["target"]["arms"]["tuned"]
    assert main(["chat", folder.id, "--prompt", "Hello", "--max-tokens", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tuned"]["tokens"] == 4
    assert main(["card", folder.id]) == 0
