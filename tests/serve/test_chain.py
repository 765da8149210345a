"""The chain of custody: a healthy one holds, and each defect that is made is named with its hop."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftwizard.cli.parser import dispatch
from ftwizard.export import tools
from ftwizard.export.tools import ToolError
from ftwizard.jobs import ending, launch
from ftwizard.jobs.folder import JobFolder, hash_file, write_json
from ftwizard.runs import custody, merge_proof, next_steps
from ftwizard.runs.custody import Custody, Hop
from ftwizard.runs.exports import ExportRecord
from ftwizard.runs.result import read_trained
from ftwizard.serve import chain, gguf_hop, local_forms, probes
from ftwizard.serve.server_client import Server
from tests.doubles.model_server import ServedModel, serve_model
from tests.helpers import training
from tests.helpers.checkpoints import flip_bit
from tests.helpers.models import make_tiny
from tests.paths import ROOT

Q = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """Return a run of the tiny model whose answers differ from those of its base."""
    root = tmp_path_factory.mktemp("verified")
    return training.train(
        root, "run", training=40, epochs=6, samples={"count": 0}, learning_rate=2e-2, rank=8,
        more={"finish": {"merge": True}},
    )  # fmt: skip


@pytest.fixture
def run(trained: JobFolder, tmp_path: Path) -> JobFolder:
    """Return a copy of the run, which a test may damage."""
    folder = JobFolder(tmp_path / "run")
    shutil.copytree(trained.path, folder.path)
    return folder


_references: dict[tuple[int, str], Any] = {}


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask fewer prompts, and compute the answers of base and adapter once for all tests."""
    monkeypatch.setattr(probes, "PROBES", 10)
    build = chain._Chain._build_reference

    def build_once(self: Any) -> Any:
        key = self._folder.adapter.stat().st_mtime_ns, str(self._base)
        if key not in _references:
            _references[key] = build(self)
        return _references[key]

    monkeypatch.setattr(chain._Chain, "_build_reference", build_once)


def verify(folder: JobFolder, url: str | None = None, model: str = "run") -> Custody:
    server = Server(url=url, model=model) if url else None
    result = chain.verify(folder, server=server, say=lambda *_, **__: None)
    assert custody.read(folder) == result
    assert all(custody.describe(result))
    return result


def find_base(folder: JobFolder) -> Path:
    trained = read_trained(folder)
    assert trained
    return Path(trained.base)


def test_healthy_chain_holds(run: JobFolder) -> None:
    with serve_model(ServedModel(run.merged), "run") as url:
        result = verify(run, url)
    assert [(hop.source, hop.target, hop.ok) for hop in result.hops] == [
        ("adapter", "merged", True),
        ("merged", "server", True),
    ], custody.describe(result)
    merged, server = result.hops
    assert (merged.token_check, server.token_check) == ("ids", "count")
    assert merged.tensors_proved == 21
    assert merged.canaries == merged.canaries_kept == server.canaries_kept == 10
    assert merged.stops and server.stops
    assert merged.nmse is not None and merged.nmse < 1e-3
    assert server.max_logprob_difference is not None and server.max_logprob_difference < 1e-3
    assert result.outcome is True


def test_command_answers_with_its_exit_code(
    run: JobFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = dispatch(["verify", str(run.path), *arguments], lambda *_, **__: 0)
        return code, *capsys.readouterr()

    assert "Verified" not in run.card.read_text()
    code, out, _ = call("--json")
    assert "Verified ✓ `adapter` → `merged`" in run.card.read_text()
    (hop,) = json.loads(out)["hops"]
    assert code == 0 and (hop["from"], hop["to"], hop["ok"]) == ("adapter", "merged", True)
    change_template(run.merged)
    code, out, _ = call()
    assert code == 1 and "✗ adapter → merged: tokens differ" in out
    assert "The chat template differs. Its" in out and "Prompt 1, token" in out
    shutil.rmtree(run.merged)
    code, out, _ = call()
    assert code == 4 and "There is no merged model: ftwizard merge run" in out
    assert call("--server", "http://127.0.0.1:1/v1")[::2] == (
        2, "ftwizard: --server and --model belong together.\n  Pass both.\n",
    )  # fmt: skip
    code, _, error = call("--server", "http://127.0.0.1:1/v1", "--model", "run")
    assert code == 1 and "No server answers at http://127.0.0.1:1/v1." in error
    code, _, error = call("--gguf", str(run.path / "no.gguf"))
    assert code == 1 and "does not exist" in error
    monkeypatch.delenv("SERVER_KEY", raising=False)
    server = ("--server", "http://127.0.0.1:1/v1", "--model", "run")
    assert call(*server, "--key-variable", "SERVER_KEY")[0] == 2
    flip_bit(run.adapter / "adapter_model.safetensors")
    code, _, error = call()
    assert code == 1 and "damaged: adapter/adapter_model.safetensors" in error


# --------------------------------------------------------------------- records and memory


def test_no_record_of_a_run_names_a_path_of_the_process(trained: JobFolder) -> None:
    records = [path for path in trained.path.rglob("*.json*") if path.is_file()]
    assert trained.merged / "proof.json" in records
    assert not [path for path in records if b"/proc/" in path.read_bytes()]
    proof = merge_proof.read_proof(trained.merged)
    assert proof and Path(proof.adapter) == trained.adapter.resolve()


KILLED_BEFORE_THE_PROOF = """
import os, signal, sys
from ftwizard.cli.parser import dispatch
from ftwizard.export import run_merge
run_merge.prove = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
dispatch(["merge", sys.argv[1], "--replace"], lambda *_, **__: 0)
"""


@pytest.mark.slow
def test_kill_before_the_proof_leaves_an_unproved_model(
    run: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [sys.executable, "-c", KILLED_BEFORE_THE_PROOF, str(run.path)]
    assert subprocess.run(line, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert run.merged.is_dir() and not (run.merged / "proof.json").exists()
    existing, missing = next_steps.describe_model(run)
    assert existing[:3] == ["adapter", "merged model", "not proved"] and missing[0] == "proof"
    dispatch(["status", str(run.path)], lambda *_, **__: 0)
    assert "? Not proved yet: the merge ended, and the" in capsys.readouterr().out
    assert find_hop(verify(run), "merged").tensors_proved == 21
    assert "proved" in next_steps.describe_model(run)[0], "verify makes the proof"


SHORT_OF_MEMORY = """
import resource, sys
import psutil, torch, transformers, peft, trl
from ftwizard.cli.parser import dispatch
from ftwizard.evaluate import placement
from ftwizard.serve import chain, probes
from ftwizard.train import model_loading
probes.PROBES = 2
if sys.argv[2] == "allocation":
    placement.choose_device = lambda *_: "cpu"
    model_loading.load_model = lambda *_: torch.empty(1 << 31)
limit = psutil.Process().memory_info().vms + (400 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(dispatch(["verify", sys.argv[1]], lambda *_, **__: 0))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["estimate", "allocation"])
def test_too_little_memory_is_no_broken_hop(run: JobFolder, how: str) -> None:
    """The weights are compared all the same, and what differs there is a broken hop."""
    line = [sys.executable, "-c", SHORT_OF_MEMORY, str(run.path), how]
    done = subprocess.run(line, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 4, done
    (hop,) = (custody.read(run) or Custody(hops=[])).hops
    assert (hop.ok, hop.cause, hop.tensors_proved) == (None, "no_memory", 21)
    assert hop.evidence["needed_bytes"] > 700e6 > hop.evidence["free_bytes"]
    assert "Cannot tell: answers need about 70" in done.stdout
    change_weights(run, change_one_number)
    done = subprocess.run(line, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "values differ in the last place" in done.stdout, done


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        ToolError("llama.cpp", "it was killed by signal 9", "", killed=True),
        ToolError("llama.cpp", "ValueError: failed", "error: unable to allocate CPU buffer"),
    ],
)
def test_memory_that_runs_out_is_no_broken_hop(
    run: JobFolder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    (run.exports / "gguf").mkdir(parents=True)
    (run.exports / "gguf" / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(gguf_hop, "_read_metadata", fail)
    merged, file = verify(run).hops
    assert (merged.ok, file.ok, file.cause) == (True, None, "no_memory")
    monkeypatch.setattr(local_forms, "score", fail)
    merged, file = verify(run).hops
    assert (merged.ok, merged.cause, file.ok, file.cause) == (None, "no_memory") * 2


def test_killed_tool_ran_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "get_python_command", lambda: ["sh", "-c", "kill -KILL $$"])
    with pytest.raises(ToolError) as caught:
        tools.run("llama.cpp", "score", "folder")
    assert ending.find_shortage(caught.value) == "out_of_memory"


# --------------------------------------------------------------------- merged model


def change_weights(
    folder: JobFolder, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> None:
    """Rewrite the merged weights; ``change`` gets them and those of the base."""
    from safetensors.torch import load_file, save_file

    path = folder.merged / "model.safetensors"
    merged, base = load_file(path), load_file(find_base(folder) / "model.safetensors")
    change(merged, base)
    save_file({name: tensor.contiguous() for name, tensor in merged.items()}, path,
              metadata={"format": "pt"})  # fmt: skip


def double(merged: dict[str, Any], base: dict[str, Any]) -> None:
    for name in [name for name in merged if "_proj" in name]:
        start, weights = base[name].float(), merged[name]
        merged[name] = (start + 2 * (weights.float() - start)).to(weights.dtype)


def leave_out(merged: dict[str, Any], base: dict[str, Any]) -> None:
    merged[Q] = base[Q].to(merged[Q].dtype)


def replace_all(merged: dict[str, Any], base: dict[str, Any]) -> None:
    merged.update({name: base[name].to(weights.dtype) for name, weights in merged.items()})


def add_noise(merged: dict[str, Any], base: dict[str, Any]) -> None:
    import torch

    merged[NORM] = merged[NORM] * (1 + torch.rand(merged[NORM].shape)).to(merged[NORM].dtype)


def change_one_number(merged: dict[str, Any], base: dict[str, Any]) -> None:
    import torch

    merged[Q].view(torch.int16)[3, 5] ^= 1


@pytest.mark.parametrize(
    ("change", "cause", "evidence"),
    [
        (double, "lora_scale", "2 times as strong"),
        (leave_out, "modules_missing", Q),
        (replace_all, "modules_missing", "11 more"),
        (add_noise, "weights_differ", f"{NORM} differs in"),
        (change_one_number, "last_place", "1 of 1,024 values differ in the last place, by up to"),
    ],
)
def test_defect_of_merged_weights_is_named(
    run: JobFolder, change: Callable[..., None], cause: str, evidence: str
) -> None:
    change_weights(run, change)
    expect_broken(run, "merged", cause, evidence)


def expect_broken(
    folder: JobFolder, target: str, cause: str, evidence: str = "", url: str | None = None
) -> Hop:
    result = verify(folder, url)
    broken = result.broken
    assert broken, custody.describe(result)
    assert (broken.target, broken.cause) == (target, cause), custody.describe(result)
    assert evidence in custody.describe_cause(broken)
    assert result.outcome is False
    return broken


def test_transposed_factor_is_named(run: JobFolder) -> None:
    from safetensors.torch import load_file

    factors = load_file(run.adapter / "adapter_model.safetensors")
    module = f"base_model.model.{Q.removesuffix('.weight')}"
    a, b = (factors[f"{module}.lora_{part}.weight"].float() for part in "AB")
    config = json.loads((run.adapter / "adapter_config.json").read_text())
    scale = config["lora_alpha"] / config["r"]

    def transpose(merged: dict[str, Any], base: dict[str, Any]) -> None:
        change = scale * (b.T.reshape(b.shape) @ a)
        merged[Q] = (base[Q].float() + change).to(merged[Q].dtype)

    change_weights(run, transpose)
    expect_broken(run, "merged", "transposed", Q)


@pytest.mark.slow
def test_module_that_was_trained_whole_and_left_out_is_named(run: JobFolder) -> None:
    from safetensors.torch import load_file, save_file

    from ftwizard.export.merge import merge

    base, path = find_base(run), run.adapter / "adapter_model.safetensors"
    norm = load_file(base / "model.safetensors")[NORM]
    factors = load_file(path)
    factors[f"base_model.model.{NORM}"] = (norm.float() * 1.5).to(norm.dtype)
    save_file(factors, path, metadata={"format": "pt"})
    config = run.adapter / "adapter_config.json"
    settings = json.loads(config.read_text()) | {"modules_to_save": ["model.norm"]}
    config.write_text(json.dumps(settings))
    document = json.loads(run.trained.read_text()) | {"hashes": {}}
    run.trained.write_text(json.dumps(document))
    shutil.rmtree(run.merged)
    merge(base, run.adapter, run.merged, end_ids=document["end_ids"])
    assert find_hop(verify(run), "merged").ok, "the module is in it"

    def restore(merged: dict[str, Any], base: dict[str, Any]) -> None:
        merged[NORM] = base[NORM].to(merged[NORM].dtype)

    change_weights(run, restore)
    expect_broken(run, "merged", "modules_to_save_missing", NORM)


def find_hop(result: Custody, target: str) -> Hop:
    return next(hop for hop in result.hops if hop.target == target)


def change_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("assistant\n", "assistant "))


def change_stop(folder: Path) -> None:
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 5}))


def swap_tokens(folder: Path) -> None:
    """Exchange the ids of two letters."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    vocabulary["e"], vocabulary["a"] = vocabulary["a"], vocabulary["e"]
    path.write_text(json.dumps(data))


def lower_case(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"normalizer": {"type": "Lowercase"}})
    )


def swap_unused(folder: Path) -> None:
    """Exchange the ids of two characters that no prompt has."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    vocabulary["ĭ"], vocabulary["Į"] = vocabulary["Į"], vocabulary["ĭ"]
    path.write_text(json.dumps(data))


def add_lines(count: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        path.write_text(path.read_text().rstrip("\n") + "\n" * count)

    return change


def set_generation(**settings: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "generation_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return change


def set_tokenizer(**settings: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return change


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("change", "cause", "evidence"),
    [
        (change_template, "template", "Prompt 1, token"),
        (change_stop, "stop_token", "<|im_end|>"),
        (swap_tokens, "tokenizer", "Prompt 1, token"),
        (
            lower_case,
            "tokenizer",
            'Its settings: normalizer unset became {"type": "Lowercase"}. Prompt',
        ),
        (
            swap_unused,
            "tokenizer",
            "Words have other token ids: ĭ 233 became 234, Į 234 became 233.",
        ),
        (swap_unused, "tokenizer", "The tokens of all 10 prompts are the same."),
        (add_lines(1), "template", "Its end became '\\n'. All 10 prompts are rendered the same."),
        (add_lines(3), "template", "rendered the same, with '\\n' added at the end."),
        (
            set_generation(eos_token_id=[256, 5]),
            "extra_stop_token",
            "also ends at &, not only at <",
        ),
        (set_tokenizer(eos_token="&"), "extra_stop_token", "also ends at &"),
        (
            set_generation(do_sample=True, temperature=1.5, top_p=0.9),
            "generation_settings",
            "do_sample unset became true, temperature unset became 1.5, top_p unset became 0.9",
        ),
        (
            set_tokenizer(model_max_length=99),
            "files_changed",
            "tokenizer_config.json changed since",
        ),
        (cut_weights, "unreadable", "model.safetensors cannot be loaded: "),
        (lambda folder: (folder / "tokenizer.json").unlink(), "unreadable", "tokenizer"),
        (lambda folder: (folder / "config.json").unlink(), "unreadable", "config.json"),
        (
            lambda folder: (folder / "chat_template.jinja").write_text("{% if"),
            "unreadable",
            "jinja",
        ),
    ],
)
def test_defect_of_merged_files_is_named(
    run: JobFolder, change: Callable[[Path], None], cause: str, evidence: str
) -> None:
    change(run.merged)
    expect_broken(run, "merged", cause, evidence)


def test_exported_file_that_changed_is_not_passed_over(
    run: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run.exports / "gguf"
    folder.mkdir(parents=True)
    file = folder / "run-BF16.gguf"
    file.write_bytes(b"GGUF whole")
    record = ExportRecord(
        form="gguf", source="", source_hashes={}, files={file.name: 10},
        hashes={file.name: hash_file(file)}, model=file.name, version="0", created=0, seconds=0,
    )  # fmt: skip
    write_json(folder / "export.json", record)
    file.write_bytes(b"GGUF cut")
    hop = find_hop(verify(run), "gguf")
    assert hop.ok is False and hop.cause in ("unreadable", "weights_differ")
    monkeypatch.setattr(gguf_hop, "compare", lambda hop, *_: (hop, None))
    hop = find_hop(verify(run), "gguf")
    assert "run-BF16.gguf changed since it was exported" in custody.describe_cause(hop)
    file.unlink()
    result = verify(run)
    assert "The file of gguf is gone: run-BF16.gguf" in result.notes
    assert "There is no GGUF file: ftwizard export run --to gguf" in result.notes


# --------------------------------------------------------------------- server


@pytest.mark.parametrize(
    ("defects", "cause"),
    [
        ({"stops": False}, "stop_token"),
        ({"system": "You are a pirate. Answer in rhymes."}, "system_prompt_added"),
        ({"context": 150}, "truncated_context"),
        ({"samples": True}, "sampling"),
    ],
)
def test_defect_of_a_server_is_named(run: JobFolder, defects: dict[str, Any], cause: str) -> None:
    with serve_model(ServedModel(run.merged, **defects), "run") as url:
        expect_broken(run, "server", cause, url=url)


def test_base_that_is_served_instead_is_named(run: JobFolder) -> None:
    with serve_model(ServedModel(find_base(run)), "run") as url:
        expect_broken(run, "server", "base_served", url=url)


@pytest.mark.slow
def test_other_model_that_is_served_is_named(run: JobFolder, tmp_path: Path) -> None:
    with serve_model(ServedModel(make_tiny(tmp_path / "other")), "run") as url:
        expect_broken(run, "server", "wrong_model", "0 of 10", url=url)
    with serve_model(ServedModel(run.merged), "another") as url:
        expect_broken(run, "server", "wrong_model", "another, not run", url=url)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_adapter_that_is_served_at_another_scale_is_named(
    run: JobFolder, tmp_path: Path, scale: float
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(run.adapter, adapter)
    config = adapter / "adapter_config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"lora_alpha": settings["lora_alpha"] * scale}))
    with serve_model(ServedModel(find_base(run), adapter=adapter), "run") as url:
        broken = verify(run, url).broken
    assert broken and (broken.target, broken.cause) == ("server", "lora_scale"), broken
    assert abs(broken.evidence["strength"] / scale - 1) < 0.3, broken


@pytest.mark.slow
def test_template_of_a_server_that_differs_is_named(run: JobFolder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run.merged, other)
    change = (other / "chat_template.jinja").read_text()
    (other / "chat_template.jinja").write_text(change.replace("<|im_end|>\n", "<|im_end|>"))
    with serve_model(ServedModel(run.merged, tokenizer=other), "run") as url:
        expect_broken(run, "server", "template", "tokens became", url=url)


@pytest.mark.slow
def test_what_cannot_be_measured_is_no_pass(run: JobFolder, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from ftwizard.export.merge import merge

    path = run.adapter / "adapter_model.safetensors"
    factors = {name: tensor * 0 for name, tensor in load_file(path).items()}
    save_file(factors, path, metadata={"format": "pt"})
    document = json.loads(run.trained.read_text()) | {"hashes": {}}
    run.trained.write_text(json.dumps(document))
    shutil.rmtree(run.merged)
    merge(find_base(run), run.adapter, run.merged, end_ids=document["end_ids"])
    result = verify(run)
    assert (result.outcome, result.hops[0].cause) == (None, "no_canary"), result
    shutil.rmtree(run.merged)
    result = verify(run)
    assert (result.outcome, result.hops) == (None, [])
    assert "There is no merged model: ftwizard merge run" in result.notes
