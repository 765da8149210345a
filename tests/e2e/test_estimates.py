"""``ftwizard estimate`` for plans, rows and models, with a fake GPU driver library."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import hub
from tests.e2e.cli import as_json, as_json_here, ok, ok_here, run, run_here
from tests.helpers.models import make_tiny, tiny_tokenizer

GIB = 1 << 30


def figures(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every figure in a document."""
    if isinstance(document, dict):
        if {"value", "unit"} <= document.keys():
            yield document
        for item in document.values():
            yield from figures(item)
    if isinstance(document, list):
        for item in document:
            yield from figures(item)


def plan_of(folder: Path, model: Path, **recipe: Any) -> Path:
    """Write forty rows and a plan that trains on them."""
    rows = folder / "rows.jsonl"
    turns = [{"role": "user", "content": "what is it"}, {"role": "assistant", "content": "a file"}]
    rows.write_text(
        "\n".join(
            json.dumps({"messages": [{**turns[0], "content": f"what is {n}"}, turns[1]]})
            for n in range(40)
        )
    )
    plan = folder / "plan.yaml"
    plan.write_text(json.dumps({
        "data": {"files": {"train": str(rows)}},
        "model": {"name": str(model)},
        "recipe": {"max_length": 128, **recipe},
    }))  # fmt: skip
    return plan


@pytest.mark.slow
def test_gpu_estimate_reports_memory_fit_and_costs(
    tmp_path: Path, home: Path, driver: Path
) -> None:
    plan = plan_of(tmp_path, make_tiny(tmp_path / "tiny"))
    on_gpu = {"LD_LIBRARY_PATH": str(driver)}
    document = as_json("estimate", plan, environment=on_gpu)
    assert document["here"] == {"name": "Double 0", "memory": 80 * GIB, "gpu": True}
    memory = document["memory"]
    assert memory["peak"]["low"] < memory["peak"]["value"] < memory["peak"]["high"] < 4 * GIB
    assert sum(part["value"] for part in memory["parts"].values()) == memory["peak"]["value"]
    assert document["fit"]["verdict"] == "fits" and document["fit"]["changes"] == []
    recorded = list(figures(document))
    assert len(recorded) > 100 and all(item["source"] and item["as_of"] for item in recorded)
    assert document["time"] is None, "the speed of this GPU is unknown"
    card = next(cost for cost in document["costs"] if cost["card"] == "a100-40gb")
    assert card["training"]["source"] and card["hours"]["value"] > 0
    text = " ".join(ok("estimate", plan, environment=on_gpu).split())
    assert "✓ fits" in text and "of 64.4 GB free of 85.9 GB, Double 0" in text
    assert "A run uses one GPU: number 0 of 2, Double 0." in text


@pytest.mark.slow
def test_moe_memory_is_counted_by_the_ledger_and_cached(
    tmp_path: Path, home: Path, driver: Path
) -> None:
    import transformers

    hf: Any = transformers
    tokenizer = tiny_tokenizer()
    config = hf.Qwen3MoeConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_experts=4,
        num_experts_per_tok=2, moe_intermediate_size=16, max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = tmp_path / "moe"
    hf.Qwen3MoeForCausalLM(config).save_pretrained(model)
    tokenizer.save_pretrained(model)
    plan = plan_of(tmp_path, model)
    on_gpu = {"LD_LIBRARY_PATH": str(driver), "FTWIZARD_CACHE": str(tmp_path / "cache")}
    document = as_json("estimate", plan, environment=on_gpu)
    assert "counted tensor by tensor" in document["memory"]["peak"]["source"]
    assert document["fit"]["memory"] == document["memory"] and document["uncounted"] is None
    (kept,) = (tmp_path / "cache" / "ledgers").glob("*.json")
    kept.write_text(kept.read_text().replace("counted tensor by tensor", "remembered"))
    again = as_json("estimate", plan, environment=on_gpu)
    assert "remembered" in again["memory"]["peak"]["source"]


@pytest.mark.slow
def test_unknown_memory_estimate_gives_the_reason(tmp_path: Path, home: Path, driver: Path) -> None:
    import transformers

    hf: Any = transformers
    tokenizer = tiny_tokenizer()
    config = hf.XLNetConfig(
        vocab_size=len(tokenizer), d_model=32, n_layer=2, n_head=4, d_inner=64,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = tmp_path / "xlnet"
    hf.XLNetLMHeadModel(config).save_pretrained(model)
    tokenizer.save_pretrained(model)
    plan = plan_of(tmp_path, model)
    document = as_json("estimate", plan, environment={"LD_LIBRARY_PATH": str(driver)})
    assert document["memory"] is None and document["fit"] is None
    assert "XLNetLMHeadModel does not support activation checkpointing" in document["uncounted"]
    here = as_json_here("estimate", plan)
    assert here["memory"] is None and "do not support xlnet models" in here["uncounted"]
    text = " ".join(ok_here("estimate", plan).split())
    assert "unknown for this kind of model" in text
    assert "Tensors are counted for GPUs only, and there is none." in text


@pytest.mark.slow
def test_cpu_estimate_is_marked_as_very_rough(tmp_path: Path, home: Path) -> None:
    document = as_json_here("estimate", plan_of(tmp_path, make_tiny(tmp_path / "tiny")))
    assert (
        document["here"]["gpu"] is False and document["fit"] is None and document["article"] is None
    )
    assert document["memory"]["peak"]["source"].startswith("very rough")
    assert document["time"]["source"].startswith("very rough")


def test_remote_models_are_estimated_from_their_configuration(home: Path) -> None:
    for name, least, most in (
        ("meta-llama/Llama-3.1-8B-Instruct", 6e9, 26e9),
        ("meta-llama/Llama-3.1-70B-Instruct", 38e9, 200e9),
        ("Qwen/Qwen3-8B", 6e9, 26e9),
        ("google/gemma-3-12b-it", 8e9, 40e9),
        ("mistralai/Mistral-7B-v0.3", 5e9, 26e9),
    ):
        document = as_json_here(
            "estimate", "--examples", 5000, "--mean-tokens", 300, "--model", name,
            "--gpu", "RTX 4090",
        )  # fmt: skip
        peak = document["memory"]["peak"]
        assert least < peak["low"] < peak["high"] < most, name
        assert peak["high"] <= 1.36 * peak["low"], name
        assert document["time"]["low"] < document["time"]["high"] and document["time"]["as_of"]
        assert document["tokens"] == 4_500_000
        assert "from its configuration only" in document["model"]["said"]
        if "70B" in name:
            assert (
                document["fit"]["verdict"] == "does not fit"
                and "not fit" in document["fit"]["sentence"]
            )


def test_quantized_models_are_estimated_but_marked_refused(tmp_path: Path, home: Path) -> None:
    asked = ("estimate", "--examples", 1000, "--mean-tokens", 500, "--gpu", "H100 SXM", "--model")
    names = {"openai/gpt-oss-20b": "unsloth/gpt-oss-20b-BF16"}
    for method in ("awq", "gptq"):
        base = make_tiny(tmp_path / method)
        config = json.loads((base / "config.json").read_text())
        config["quantization_config"] = {"quant_method": method, "bits": 4}
        (base / "config.json").write_text(json.dumps(config))
        names[str(base)] = "Use the original 16-bit model"
    for name, instead in names.items():
        document = as_json_here(*asked, name)
        assert (
            document["refused"].startswith("Training refuses this model:")
            and instead in document["refused"]
        )
        assert document["fit"] is not None and document["memory"]["peak"]["value"] > 0
        text = " ".join(ok_here(*asked, name).split())
        assert "✗ Training refuses this model:" in text and "is quantized" in text
        # The note about the figures' model comes before the figures.
        assert text.index("The figures below are for that model.") < text.index("✓ fits")
    plain = as_json_here(*asked, "unsloth/gpt-oss-20b-BF16")
    assert plain["refused"] is None and plain["fit"] is not None


def test_rows_over_the_context_length_are_refused_or_warned_about(
    tmp_path: Path, home: Path
) -> None:
    base = tmp_path / "gpt2"
    base.mkdir()
    (base / "config.json").write_text(
        json.dumps({"model_type": "gpt2", "n_positions": 1024, "vocab_size": 50_257})
    )
    asked = ("estimate", "--examples", 10, "--gpu", "T4", "--model")
    assert as_json_here(*asked, base, "--mean-tokens", 1024)["refused"] is None
    document = as_json_here(*asked, base, "--mean-tokens", 2000)
    assert document["fit"] is None and "2,000 tokens" in document["refused"]
    assert "Set recipe.max_length to 1024 or less" in document["refused"]
    document = as_json_here(*asked, "Qwen/Qwen3-8B", "--mean-tokens", 50_000)
    assert document["refused"] is None
    assert [warning["code"] for warning in document["warnings"]][:1] == ["beyond-positions"]


def test_only_one_of_several_gpus_is_used(home: Path) -> None:
    asked = ("estimate", "--examples", 500, "--mean-tokens", 300,
             "--model", "meta-llama/Llama-3.1-70B-Instruct", "--gpu")  # fmt: skip
    item, two = as_json_here(*asked, "RTX 4090"), as_json_here(*asked, "2 x RTX 4090")
    assert item["one_gpu"] is None and "number 0 of 2" in two["one_gpu"]
    assert two["here"] == item["here"] and two["memory"]["peak"] == item["memory"]["peak"]
    assert two["fit"]["sharded"]["cards"] > 2
    assert "where.parallel to fsdp" in two["fit"]["sentence"]
    assert as_json_here(*asked, "RTX 4090 x 2")["one_gpu"] == two["one_gpu"]
    for text, output in (
        ("0 x RTX 4090", "0 is not a valid number of GPUs"), ("-1 x A100", "-1 is not a valid number of GPUs"),
        ("2 x A100 and L4", "Unknown GPU A100 and L4"),
    ):  # fmt: skip
        done = run_here(*asked[:-1], f"--gpu={text}")
        assert done.returncode == 2 and output in done.stderr


@pytest.mark.slow
def test_plan_with_an_unavailable_model_is_still_estimated(tmp_path: Path, home: Path) -> None:
    plan = plan_of(tmp_path, Path("meta-llama/Llama-3.1-8B-Instruct"))
    document = as_json_here("estimate", plan, "--gpu", "A100 80 GB")
    assert document["parameters"] == 8_030_261_248 and document["fit"]["verdict"] == "fits"
    assert document["steps"] > 0 and document["memory"]["peak"]["value"] > 10e9
    assert document["recipe"]["method"] == "lora" and "HF_HUB_OFFLINE" in document["model"]["why"]
    assert document["hour"]["price"] is document["follows"]["cost"] is None, "no price is set"
    assert document["hour"]["rental"]["source"].startswith("A100")
    text = ok_here("estimate", plan)
    assert "meta-llama/Llama-3.1-8B-Instruct" in text and "LoRA, rank 16; 4 rows per step" in text
    assert "cost        unknown" in text and "--price machine=USD" in text
    priced = as_json_here("estimate", plan, "--gpu", "A100 80 GB", "--price", "machine=2")
    whole, cost = priced["follows"]["whole"], priced["follows"]["cost"]
    assert cost["low"] == pytest.approx(whole["low"] / 1800)
    (row,) = (cost for cost in priced["costs"] if cost["name"] == "This machine")
    assert row["training"]["value"] == pytest.approx(cost["value"]) and row["setup"]["value"] == 2


def typed_plan(folder: Path, **more: Any) -> Path:
    """Write a plan for a model of which only the configuration is known."""
    path = plan_of(folder, Path("meta-llama/Llama-3.1-8B"), batch_size=2)
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    return path


def test_several_gpus_are_estimated_for_each_and_in_total(tmp_path: Path, home: Path) -> None:
    on = ("--gpu", "4 x RTX 4090", "--price", "machine=2")
    alone = as_json_here("estimate", typed_plan(tmp_path), *on)
    assert alone["follows"]["parallel"] is None and "number 0 of 4" in alone["one_gpu"]
    for mode in ("ddp", "fsdp"):
        plan = typed_plan(tmp_path, where={"processes": 4, "parallel": mode})
        document = as_json_here("estimate", plan, *on)
        parallel, memory = document["follows"]["parallel"], document["memory"]
        assert (parallel["processes"], parallel["mode"]) == (4, mode)
        assert parallel["memory"]["value"] == pytest.approx(4 * memory["peak"]["value"])
        assert ("gathered" in memory["parts"]) == (mode == "fsdp")
        assert document["steps"] == -(-alone["steps"] // 4) and document["one_gpu"] is None
        cost, whole = document["follows"]["cost"], document["follows"]["whole"]
        assert cost["value"] == pytest.approx(whole["value"] / 3600 * 2)
        assert parallel["cost_each"]["value"] == pytest.approx(cost["value"] / 4)
        assert document["time"]["high"] > document["time"]["low"] > 0
        assert all(item["source"] and item["as_of"] for item in figures(document))
        text = ok_here("estimate", plan, *on, environment={"COLUMNS": "80"})
        assert max(map(len, text.splitlines())) <= 80
        words = " ".join(text.split())
        assert (
            f"processes 4 GPUs, {mode.upper()} · " in words
            and "per GPU (at $2.00 per hour," in words
        )
        assert "on each GeForce RTX 4090" in words and " on all 4: " in words
        assert "2 rows × 4 processes per step" in words
        shared = "divided among them: weights, LoRA, gradients, optimizer"
        assert (shared in words) == (mode == "fsdp")


def test_slurm_plan_is_estimated_for_its_node_not_for_this_machine(
    tmp_path: Path, home: Path
) -> None:
    where = {"scheduler": "slurm", "processes": 4}
    plan = typed_plan(tmp_path, where=where, slurm={"gpus": 4, "nodes": 2})
    document = as_json_here("estimate", plan, "--price", "machine=2")
    assert document["fit"] is document["time"] is document["follows"]["cost"] is None
    assert document["here"] == {"name": "a GPU of the cluster", "memory": None, "gpu": True}
    assert document["memory"]["peak"]["value"] > 16e9 and document["queued"]
    words = " ".join(ok_here("estimate", plan).split())
    assert "The job may get any GPU, so fit and time are unknown." in words
    assert "✓ fits" not in words and "✗ does not fit" not in words

    plan = typed_plan(tmp_path, where=where, slurm={"gpus": 4, "nodes": 2, "gpu_type": "a100_80gb"})
    document = as_json_here("estimate", plan, "--price", "machine=2")
    assert document["fit"]["verdict"] == "fits" and document["here"]["name"] == "A100 SXM 80 GB"
    cost, whole = document["follows"]["cost"], document["follows"]["whole"]
    assert cost["value"] == pytest.approx(2 * whole["value"] / 3600 * 2), "two nodes"
    words = " ".join(ok_here("estimate", plan, "--price", "machine=2").split())
    assert "processes 8 GPUs on 2 nodes, DDP" in words and "after its wait in the queue" in words
    assert "per hour and node" in words and "ends about" not in words

    done = run_here("probe", plan, environment={})
    assert done.returncode == 2 and "would measure the login node" in done.stderr
    options = "--nodes=1 --ntasks-per-node=1 --gpus-per-node=a100_80gb:4 --time=30"
    assert f"srun {options} ftwizard probe" in done.stderr


@pytest.mark.slow
def test_gated_model_is_estimated_from_its_configuration(tmp_path: Path, home: Path) -> None:
    name = "meta-llama/Llama-3.1-8B-Instruct"
    plan = plan_of(tmp_path, Path(name))
    files = dict.fromkeys(("config.json", "tokenizer_config.json", "model.safetensors"), b"{}")
    with hub.serve(name, files) as server:
        server.files_gated = True
        there = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        document = as_json("estimate", plan, "--gpu", "A100 80 GB", environment=there)
        assert document["memory"]["peak"]["value"] > 10e9
        assert "only after you accept its license" in document["model"]["why"]
        done = run("probe", plan, environment=there)
    assert done.returncode == 1 and "hf auth login" in done.stderr


def test_estimate_without_a_plan_uses_the_advised_method(tmp_path: Path, home: Path) -> None:
    plan_of(tmp_path, Path("meta-llama/Llama-3.1-70B-Instruct"))
    for subject in (
        [tmp_path / "rows.jsonl"], ["--examples", 40, "--mean-tokens", 20],
    ):  # fmt: skip
        asked = (*subject, "--model", "meta-llama/Llama-3.1-70B-Instruct", "--gpu", "A100 40 GB")
        document = as_json_here("estimate", *asked)
        assert document["recipe"]["method"] == "qlora"
        assert document["here"]["name"] == "A100 SXM 40 GB" and document["fit"]["verdict"] != "fits"
    text = ok_here("estimate", *asked, "--price", "machine=2")
    assert "for the whole run, if it fit (at $2.00 per hour" in " ".join(text.split())
    assert re.search(
        r"computed from the model's configuration.*; 20\d\d-\d\d", " ".join(text.split())
    )
    assert "parameters × bytes per parameter; 20" in " ".join(text.split())
    assert ", if it fit" in text and "QLoRA, rank 16" in text


def test_max_length_follows_the_given_mean_tokens(home: Path) -> None:
    document = as_json_here(
        "estimate", "--examples", 5000, "--mean-tokens", 2048,
        "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "A100 80 GB",
    )  # fmt: skip
    assert document["recipe"]["max_length"] > 3 * 2048, "99 of 100 rows fit"
    assert document["memory"]["parts"]["activations"]["value"] > 4e9, "4 rows of 2,048 tokens"
    assert document["follows"]["padding"]["value"] > 0.3
    assert "only the mean is known" in document["notes"][0]
    text = ok_here(
        "estimate", "--examples", 5000, "--mean-tokens", 2048,
        "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "A100 80 GB",
    )  # fmt: skip
    assert "only the mean is known" in text and "Prices change" not in text


def test_unknown_model_gets_a_note_instead_of_figures(home: Path) -> None:
    asked = ("estimate", "--examples", 5, "--mean-tokens", 9, "--model", "owner/unknown")
    document = as_json_here(*asked)
    assert document["memory"] is None and document["time"] is None
    assert "no configuration of owner/unknown" in document["notes"][-1]
    assert ok_here(*asked).rstrip().endswith("ftwizard estimate DATA --model owner/unknown")


def test_hosted_model_in_a_plan_is_refused(tmp_path: Path, home: Path) -> None:
    done = run_here("estimate", plan_of(tmp_path, Path("gpt-4.1-mini")))
    assert done.returncode == 1 and "is fine-tuned at OpenAI" in done.stderr
    assert "rows.jsonl --model gpt-4.1-mini" in done.stderr


def test_plan_of_a_platform_is_not_estimated_for_this_machine(tmp_path: Path, home: Path) -> None:
    plan = tmp_path / "hosted.yaml"
    plan.write_text(
        "provider: together\ndata: {files: {train: rows.jsonl}}\nmodel: {name: Qwen/Qwen3-8B}\n"
    )
    for longest in ((), ("--longest",)):
        done = run("estimate", plan, *longest)
        assert done.returncode == 2 and "This plan trains at Together" in done.stderr
        assert f"ftwizard train {plan} --dry-run" in done.stderr


def test_unknown_models_sizes_and_gpus_are_explained(tmp_path: Path, home: Path) -> None:
    done = run_here("estimate", plan_of(tmp_path, Path("owner/unknown")))
    assert done.returncode == 1 and "owner/unknown" in done.stderr
    document = as_json_here(
        "estimate", "--examples", 5, "--mean-tokens", 9, "--model", "Qwen/NoSuch-9B"
    )
    assert (
        "Qwen/NoSuch-9B" in document["notes"][-1]
        and "Closest known: Qwen/" in document["notes"][-1]
    )
    assert all(cost["hours"] is None for cost in document["costs"]), "its size is unknown"
    large = as_json_here("estimate", "--examples", 5, "--mean-tokens", 9, "--model",
                    "together/llama-3.3-70b")  # fmt: skip
    assert all(cost["hours"] is None for cost in large["costs"]), (
        "the article's rule is for 8B models"
    )
    done = run_here("estimate", "--examples", 5, "--mean-tokens", 9, "--model", "Qwen/Qwen3-8B",
               "--gpu", "RTX 9999")  # fmt: skip
    assert done.returncode == 2 and "Known are" in done.stderr


@pytest.mark.slow
def test_estimate_warns_about_risks_that_training_refuses(tmp_path: Path, home: Path) -> None:
    tiny = make_tiny(tmp_path / "tiny")
    plan = plan_of(tmp_path, tiny, epochs=5, learning_rate=0.01)
    document = as_json_here("estimate", plan)
    assert [warning["code"] for warning in document["warnings"]] == ["rate-too-high", "many-epochs"]
    text = " ".join(ok_here("estimate", plan).split())
    assert "5 epochs usually lead to memorization" in text
    assert "Training needs --allow many-epochs." in text and "1e-2 is far above" in text
    refused = run_here("train", plan)
    assert refused.returncode == 3 and "--allow many-epochs" in refused.stderr


@pytest.mark.slow
def test_missing_target_modules_are_found_in_the_configuration(tmp_path: Path, home: Path) -> None:
    for name in ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B"):
        plan = plan_of(tmp_path, Path(name), target_modules=["q_proj", "w1"])
        (warning,) = as_json_here("estimate", plan)["warnings"]
        assert warning["code"] == "missing-modules" and "has no w1" in warning["message"]
        assert "has no w1" in " ".join(ok_here("estimate", plan).split())
        refused = run_here("estimate", plan_of(tmp_path, Path(name), target_modules=["w1"]))
        assert refused.returncode != 0 and "has no w1" in refused.stderr
        assert "It has: q_proj, k_proj" in " ".join(refused.stderr.split())


def test_longest_rows_are_answered_for_this_gpu_and_common_ones(tmp_path: Path, home: Path) -> None:
    asked = ("estimate", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "RTX 4090")
    document = as_json_here(*asked, "--longest")
    own, *others = document["longest"]
    assert own["here"] and own["device"] == "GeForce RTX 4090" and not others[0]["here"]
    four, one = own["rows"]
    assert 0 < four["fits"] < four["may_fit"] < one["fits"] <= document["context"] == 131_072
    sizes = [item["rows"][1]["fits"] for item in others if item["device"] != "T4"]
    assert sizes == sorted(sizes) and len(sizes) >= 6
    text = ok_here(*asked, "--longest")
    assert f"{four['fits']:,}" in text and "may fit" in text and "GeForce RTX 4060" in text
    plan = plan_of(tmp_path, Path("Qwen/Qwen3-0.6B"), batch_size=1)
    (device, *_) = as_json_here("estimate", plan, "--longest", "--gpu", "8 GB")["longest"]
    assert [rows["batch_size"] for rows in device["rows"]] == [1] and device["memory"] == 8 * 10**9
    for arguments, reason in (((), "a plan or a model"), (("--model", "gpt-4.1"), "an open model")):
        done = run_here("estimate", "--longest", *arguments)
        assert done.returncode == 2 and reason in done.stderr


@pytest.mark.slow
def test_settings_that_a_gpu_does_not_support_are_refused_or_warned_about(
    tmp_path: Path, home: Path
) -> None:
    def estimate(gpu: str, **recipe: Any) -> dict[str, Any]:
        plan = plan_of(tmp_path, Path("Qwen/Qwen3-0.6B"), **recipe)
        document: dict[str, Any] = as_json_here("estimate", plan, "--gpu", gpu)
        return document

    flash = estimate("T4", attention="flash_attention_2")
    assert "needs an Ampere GPU or newer" in flash["refused"] and "T4 has 7.5" in flash["refused"]
    bf16 = estimate("T4", precision="bf16")
    assert bf16["refused"] is None
    assert "emulated-bf16" in [warning["code"] for warning in bf16["warnings"]]
    assert "8.1 TFLOPS in fp32" in bf16["time"]["source"]
    modern = estimate("A100 80 GB", attention="flash_attention_2", precision="bf16")
    assert modern["refused"] is None
    assert "emulated-bf16" not in [warning["code"] for warning in modern["warnings"]]
