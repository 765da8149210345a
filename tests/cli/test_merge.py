"""The ``merge`` command: exit codes, refusals, and what a killed merge leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.cli.parser import dispatch
from ftwizard.data.conversation import Conversation
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, State, write_json
from ftwizard.runs import base_weights
from ftwizard.runs.merge_proof import MergeProof, read_proof
from ftwizard.train.dataset import SavedTestSet
from tests.helpers import disks
from tests.helpers.adapters import write_adapter, write_llama
from tests.helpers.results import make_run_result, make_trained
from tests.helpers.rows import row_of


def run(*arguments: object) -> int:
    return dispatch(["merge", *map(str, arguments)], lambda *_, **__: 0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    return write_adapter(base, base.with_name("adapter"))


def copy(adapter: Path, folder: Path, **settings: Any) -> Path:
    """Copy an adapter with other settings."""
    folder.mkdir()
    for path in adapter.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **settings}))
    return folder


def test_adapter_is_merged_and_proved(
    tmp_path: Path, base: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "merged"
    assert run(adapter, "--base", base, "--out", out) == 0
    text = capsys.readouterr().out
    assert f"Merged model: {out}" in text
    assert "✓ Proved: all 21 tensors are bit for bit what base and adapter give (2 merged)." in text
    assert "Answers were not compared: there is no test set." in text
    proof = read_proof(out)
    assert proof and proof.verdict == "proved" and proof.base == str(base)

    assert run(adapter, "--base", base, "--out", out, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert msgspec.convert(document["proof"], MergeProof).verdict == "proved"
    assert document["merged"]["dtype"] == "bfloat16"


def test_damaged_merge_exits_1(
    tmp_path: Path, base: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "merged"
    run(adapter, "--base", base, "--out", out)
    path = out / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert run(adapter, "--base", base, "--out", out) == 1
    assert "✗ Damaged: model.safetensors" in capsys.readouterr().out


def test_folder_with_the_model_of_another_adapter(
    tmp_path: Path, base: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "merged", write_adapter(base, tmp_path / "other", r=2)
    run(adapter, "--base", base, "--out", out)
    assert run(other, "--base", base, "--out", out) == 1
    assert "merged from another adapter" in capsys.readouterr().err
    moved = copy(adapter, tmp_path / "moved")
    assert run(moved, "--base", base, "--out", out) == 0
    assert run(other, "--base", base, "--out", out, "--replace") == 0


def test_what_cannot_be_proved_exits_4(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """peft merges an adapter of another kind, and that is said."""
    from peft import IA3Config, get_peft_model
    from transformers import AutoModelForCausalLM

    config = IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(
        tmp_path / "ia3"
    )
    assert run(tmp_path / "ia3", "--base", base, "--out", tmp_path / "merged") == 4
    assert (
        "? Cannot be proved: peft merged this adapter, because its type is IA3, not LoRA."
        in capsys.readouterr().out
    )
    assert (tmp_path / "merged" / "model.safetensors").exists()


def write_bad(kind: str, base: Path, adapter: Path, folder: Path) -> tuple[Path, Path]:
    """Make one kind of bad input; return adapter and base."""
    weights = folder / "bad" / "adapter_model.safetensors"
    if kind == "other shapes":
        small = write_llama(folder / "other")
        config = json.loads((small / "config.json").read_text())
        from transformers import LlamaConfig, LlamaForCausalLM

        other = LlamaConfig(**{**config, "hidden_size": 64})
        LlamaForCausalLM(other).bfloat16().save_pretrained(small)
        return adapter, small
    if kind == "fewer layers":
        from safetensors.torch import load_file, save_file

        shallow = write_llama(folder / "shallow")
        path = shallow / "model.safetensors"
        save_file({k: v for k, v in load_file(path).items() if ".layers.1." not in k}, path)
        return adapter, shallow
    if kind == "missing shard":
        sharded = write_llama(folder / "sharded", shard="20KB")
        next(sharded.glob("model-00002-*")).unlink()
        return adapter, sharded
    if kind == "quantized base":
        quantized = write_llama(folder / "quantized")
        path = quantized / "config.json"
        settings = {"quantization_config": {"load_in_4bit": True}}
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
        return adapter, quantized
    if kind == "a model":
        return base, base
    if kind == "prefix tuning":
        return copy(adapter, folder / "bad", peft_type="PREFIX_TUNING"), base
    if kind == "other rank":
        return copy(adapter, folder / "bad", r=8), base
    copy(adapter, folder / "bad")
    if kind == "pickle":
        weights.rename(weights.with_suffix(".bin").with_name("adapter_model.bin"))
    elif kind == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "NaN":
        weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\xff\x7f")
    elif kind == "tokenizer":
        (folder / "bad" / "tokenizer.json").write_text("{}")
    elif kind == "settings":
        (folder / "bad" / "adapter_config.json").write_text("{")
    elif kind == "half a module":
        drop_tensor(weights, "layers.0.self_attn.q_proj.lora_B.weight")
    elif kind == "missing module":
        drop_tensor(weights, "layers.0.self_attn.q_proj.")
    return folder / "bad", base


def drop_tensor(path: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    save_file({key: value for key, value in load_file(path).items() if name not in key}, path)


BAD = {
    "other shapes": ("does not fit the base model", "q_proj.weight is 32 × 64 there"),
    "fewer layers": (
        "does not fit the base model",
        "has no module model.layers.1.self_attn.q_proj",
    ),
    "missing shard": ("model-00002-of-", "is missing"),
    "quantized base": ("is quantized", "Use the original 16-bit model"),
    "a model": ("is not an adapter: it has no adapter_config.json", "looks like a whole model"),
    "prefix tuning": ("PREFIX_TUNING, which adds prompt vectors", "Serve it with peft"),
    "other rank": (
        "is damaged: module model.layers.0.self_attn.q_proj does not have rank 8",
        "Copy",
    ),
    "pickle": ("has adapter_model.bin: a pickle file", "save it again"),
    "cut": ("is incomplete: 100 B of", "Copy the adapter again"),
    "NaN": ("has NaN or infinite values", "Merge an earlier checkpoint"),
    "tokenizer": ("The tokenizer in", "tokenizer.json"),
    "settings": ("adapter_config.json is damaged", "Copy the adapter again"),
    "missing module": ("it has nothing for model.layers.0.self_attn.q_proj", "Copy it again"),
    "half a module": ("has only one of A and B", "Copy it again"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused(
    tmp_path: Path, base: Path, adapter: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in a sentence with what to do; nothing is left behind."""
    bad_adapter, bad_base = write_bad(kind, base, adapter, tmp_path)
    before = set(tmp_path.iterdir())
    capsys.readouterr()
    assert run(bad_adapter, "--base", bad_base, "--out", tmp_path / "merged") == 1
    text = capsys.readouterr().err
    for words in BAD[kind]:
        assert words in text
    assert text.count("\n") <= 2 and "Traceback" not in text
    assert set(tmp_path.iterdir()) == before


def test_wrong_usage_is_explained(
    tmp_path: Path, base: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(adapter) == 2
    error = capsys.readouterr().err
    assert "needs --base and --out" in error and f"--base {base} --out merged" in error
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").touch()
    assert run(adapter, "--base", base, "--out", tmp_path / "taken") == 1
    assert "is not a model that ftwizard merged" in capsys.readouterr().err
    assert run(tmp_path / "nowhere", "--base", base, "--out", tmp_path / "x") == 1
    assert "no such folder" in capsys.readouterr().err


def test_full_disk_is_noticed_before_anything_is_written(
    tmp_path: Path, base: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with disks.mount(tmp_path, "1m") as disk:
        assert run(adapter, "--base", base, "--out", disk / "merged") == 1
        assert list(disk.iterdir()) == []
    error = capsys.readouterr().err
    assert "of disk space in" in error and "--out" in error


def test_killed_merge_leaves_nothing_that_looks_complete(
    tmp_path: Path, base: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it lives, a second one is refused; the next one cleans up."""
    out = tmp_path / "merged"
    script = (
        "import sys, time; from pathlib import Path; from ftwizard.export import merge\n"
        "write = merge.ShardWriter.close\n"
        "merge.ShardWriter.close = lambda writer: (print('half', flush=True), time.sleep(600))\n"
        "merge.merge(*map(Path, sys.argv[1:]), end_ids=[])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, base, adapter, out], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout and child.stdout.readline() == "half\n"
        assert run(adapter, "--base", base, "--out", out) == 1
        assert "Another merge is writing" in capsys.readouterr().err
        child.send_signal(signal.SIGKILL)
    assert not out.exists()
    (part,) = tmp_path.iterdir()
    assert [path.name for path in part.iterdir()] == ["model.safetensors"]
    assert run(adapter, "--base", base, "--out", out) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


@pytest.fixture
def folder(tmp_path: Path, base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """Return a run that ended with an adapter and a test set, and did not merge."""
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "home"))
    run_folder = JobFolder(tmp_path / "home" / "runs" / "tuned")
    (run_folder.path / "attempts").mkdir(parents=True)
    run_folder.evaluations.mkdir()
    plan = {"data": {"files": {"train": "rows.jsonl"}}, "model": {"name": str(base)}}
    record = JobRecord(kind="train", argv=[], version="0", created=1.0, plan=plan)
    write_json(run_folder.job, record)
    attempt = Attempt(number=1, started=1.0, host="here", argv=[], plan=plan)
    write_json(run_folder.attempt(1), attempt)
    write_json(run_folder.state, State(state="ended", attempt=1, end_reason="finished"))
    write_adapter(base, run_folder.adapter, target_modules=["q_proj", "lm_head"])
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (base / name).exists():
            (run_folder.adapter / name).write_bytes((base / name).read_bytes())
    trained = make_trained(base=str(base), base_name="owner/model", step=1)
    write_json(run_folder.trained, trained)
    write_json(run_folder.result, make_run_result(training=trained))
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, you."}]
    rows = [row_of(line, Conversation(messages=messages)) for line in (1, 2)]
    write_json(run_folder.evaluations / "test.json", SavedTestSet(rows=rows))
    base_weights.record_later(run_folder, base, base_weights.read_stamps(base))
    base_weights.wait()
    return run_folder


def test_run_is_merged_and_compared_with_its_adapter(
    folder: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tuned") == 0
    text = capsys.readouterr().out
    assert "✓ Proved" in text and "On 2 test rows, the loss is" in text
    proof = read_proof(folder.merged)
    assert proof and proof.behavior and proof.behavior.tokens > 10 and proof.behavior.is_within
    assert json.loads(folder.result.read_text())["merged"]["hashes"]
    assert run("tuned", "--scale", "0.5") == 1
    assert "merged with --scale 1.0" in capsys.readouterr().err
    assert run("tuned", "--scale", "10", "--out", folder.path / "more") == 0
    strong = read_proof(folder.path / "more")
    assert strong and strong.behavior and strong.behavior.is_within
    changed = strong.behavior.adapter_loss - proof.behavior.adapter_loss
    rest = strong.behavior.merged_loss - strong.behavior.adapter_loss
    assert abs(rest) < abs(changed) / 3, "the adapter is compared at the strength of the merge"
    assert run("tuned", "--dtype", "float32", "--scale", "10", "--out", folder.path / "wide") == 0
    wide = read_proof(folder.path / "wide")
    assert wide and wide.behavior and wide.dtype == "float32"
    lost = abs(wide.behavior.merged_loss - wide.behavior.adapter_loss)
    assert lost < abs(rest) / 3 and wide.behavior.agreement == 1.0, "both computed in 32 bit"
    assert run("tuned", "--onto", "dequantized", "--out", folder.path / "other") == 2


def test_run_with_other_base_weights_is_refused(
    folder: JobFolder, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shapes fit; the hash tells."""
    other = write_llama(tmp_path / "other", seed=5)
    assert run("tuned", "--base", other) == 1
    error = capsys.readouterr().err
    assert "changed since run tuned started" in error and "--base" in error
    assert not folder.merged.exists()
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in base.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert run("tuned", "--base", moved) == 0, "a copy is the same base"


def test_run_whose_base_is_gone_is_refused(
    folder: JobFolder, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = base.rename(base.parent / "elsewhere")
    try:
        assert run("tuned") == 1
        error = capsys.readouterr().err
        assert f"is gone: {base}" in error and "another copy of it with --base" in error
        assert run("tuned", "--base", elsewhere) == 0
    finally:
        elsewhere.rename(base)


def test_a_damaged_or_other_model_is_replaced(
    folder: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tuned") == 0
    (file,) = folder.merged.glob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\x01\x02\x03\x04")
    assert run("tuned") == 1, "the proof names it"
    assert run("tuned", "--replace") == 0 and file.read_bytes() == whole
    capsys.readouterr()
    assert run("tuned", "--scale", "0.5") == 1
    assert "--replace" in capsys.readouterr().err
    assert run("tuned", "--scale", "0.5", "--replace") == 0 and file.read_bytes() != whole


def test_run_whose_adapter_changed_is_refused(
    folder: JobFolder, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = make_trained(base=str(base), hashes={"adapter_model.safetensors": "0" * 32})
    write_json(folder.trained, trained)
    assert run("tuned") == 1
    assert "changed since training wrote it" in capsys.readouterr().err
