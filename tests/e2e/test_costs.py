"""Costs in ``ftwizard estimate``: from numbers, from rows and from a plan."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import as_json_here, ok_here, run_here
from tests.helpers.models import make_tiny

EXAMPLE = ("estimate", "--examples", 5000, "--mean-tokens", 300, "--epochs", 3)
BARE = """
import socket, sys
def refuse(*_): raise AssertionError("the network was asked for")
socket.socket.connect = refuse
from ftwizard.cli.parser import dispatch
code = dispatch(sys.argv[1:], None)
heavy = {"torch", "transformers", "trl", "datasets", "numpy", "openai"} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""


def training(result: dict[str, Any]) -> dict[str, float | None]:
    return {
        cost["name"]: cost["training"] and cost["training"]["value"] for cost in result["costs"]
    }


def chat(file: Path, count: int) -> Path:
    rows = (
        {"messages": [{"role": "user", "content": f"Question {n}?"},
                      {"role": "assistant", "content": f"Answer {n}."}]}
        for n in range(count)
    )  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_article_example_matches_to_the_cent_offline() -> None:
    arguments = [sys.executable, "-c", BARE, *map(str, EXAMPLE), "--edition", "2026-04", "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["tokens"] == 4_500_000 and document["edition"] == "2026-04"
    assert document["counted"]["total"]["value"] == 4_500_000
    costs = training(document)
    assert costs["OpenAI GPT-4.1"] == 13.50 and costs["OpenAI GPT-4.1-mini"] == 3.60
    assert costs["OpenAI GPT-4o"] == 112.50 and costs["A100 40 GB spot"] == 3.00
    assert costs["Together Llama 3.3 8B"] == 20.25
    assert costs["Vertex Gemini 2.5 Flash"] is None
    flash = next(cost for cost in document["costs"] if cost["model"] == "gemini-2.5-flash")
    assert any("check the provider's page" in note for note in flash["notes"])
    assert document["memory"] is None and document["time"] is None and document["monthly"] is None


@pytest.mark.parametrize("more", [(), ("--edition", "2026-04")])
def test_cost_table_fits_80_columns_and_marks_unknown_prices(more: tuple[str, ...]) -> None:
    month = ("--requests-per-month", 1e5, "--tokens-in", 500, "--tokens-out", 100)
    text = ok_here(*EXAMPLE, *more, *month, environment={"COLUMNS": "80"})
    table = text.split("\n· ")[0].splitlines()
    assert all(
        len(line) <= 80 for line in table if "Price unknown" not in line and "longer" not in line
    )
    for words in ("$112.50", "$13.50", "GPT-4.1-mini", "setup", "+50%", "2026-04", "yes"):
        assert words in text
    assert "check the provider's page" in text and "over 90 days old" in text
    assert "$0.00" not in text and "None" not in text


def test_notes_are_shortened_unless_all_are_requested() -> None:
    def notes(*more: object) -> list[str]:
        return [line for line in ok_here(*EXAMPLE, *more).splitlines() if line.startswith("· ")]

    few, every = notes(), notes("--notes")
    assert "more notes: use --notes" in few[-1] and few[:7] == every[:7]
    assert len(every) - len(few) + 1 == int(few[-1].split()[1]) > 8 and set(few[:-1]) <= set(every)
    assert any("OpenAI (3 rows): No new jobs from" in item for item in few)
    assert not any("--notes" in entry for entry in every) and len(set(every)) == len(every)


def test_custom_gpu_price_adds_the_gpu_to_the_costs() -> None:
    price = ("--price", "me/L4/gpu-on-demand=0.7")
    document = as_json_here(*EXAMPLE, "--model", "meta-llama/Llama-3.1-8B", *price)
    (own,) = (cost for cost in document["costs"] if cost["card"] == "l4")
    assert own["rate"]["value"] == 0.7 and own["hours"]["value"] > 0 and not own["too_small"]
    assert own["training"]["value"] > 0 and own["name"] == "L4 on demand"
    document = as_json_here(*EXAMPLE, "--model", "meta-llama/Llama-3.1-70B", *price)
    (own,) = (cost for cost in document["costs"] if cost["card"] == "l4")
    assert own["too_small"] and own["training"] is None
    text = ok_here(*EXAMPLE, "--model", "meta-llama/Llama-3.1-70B", *price, "--notes")
    assert "does not fit" in text and "hours unknown" not in text


OFFLINE = {"HF_HUB_OFFLINE": "1"}


def _write_plan(folder: Path, **recipe: Any) -> Path:
    """Write a plan for a model that is not downloaded, on 20 rows, which are pairs if a recipe is given."""
    row = {"prompt": "Why?", "completion": "Because."}
    if recipe:
        row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(20)))
    plan = folder / "plan.yaml"
    plan.write_text(json.dumps({
        "data": {"files": {"train": "rows.jsonl"}},
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "recipe": recipe,
    }))  # fmt: skip
    return plan


def test_own_estimate_comes_first_and_the_usual_offers_last(tmp_path: Path) -> None:
    asked = (*EXAMPLE, "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "RTX 4090")
    lines = ok_here(*asked, environment={"COLUMNS": "80"}).splitlines()
    assert max(len(line) for line in lines if not line.startswith("·")) <= 80
    (elsewhere,) = (number for number, line in enumerate(lines) if line.startswith("Elsewhere"))
    named = {line.split()[0]: number for number, line in enumerate(lines) if line[:1].strip()}
    for name in ("model", "memory", "time", "cost", "disk"):
        assert named[name] < 23 < len(lines), name
    offers = lines[elsewhere + 1 :]
    assert len(offers) < 12 and any(line.startswith("OpenAI GPT-4.1-mini") for line in offers)
    assert any("setup $" in line for line in offers), "the cheapest rented GPU"
    assert not any("GPT-4o-mini" in line for line in offers)
    lines = ok_here("estimate", _write_plan(tmp_path), environment=OFFLINE).splitlines()
    assert any(line.startswith("Elsewhere, for") for line in lines[-8:])
    for option in (("--notes",), ("--sort", "training"), ("--edition", "2026-04")):
        text = ok_here(*asked, *option)
        assert "GPT-4o-mini" in text and text.index("memory ") < text.index("GPT-4o-mini")


def test_offers_elsewhere_are_not_those_of_preference_tuning(tmp_path: Path) -> None:
    plan = _write_plan(tmp_path, objective="dpo")
    text = ok_here("estimate", plan, environment=OFFLINE)
    assert "Elsewhere: what DPO costs there is not known." in text and "OpenAI" not in text
    note = "The offers elsewhere are those of supervised fine-tuning on these rows."
    for option in ("--notes", "--json"):
        assert note in ok_here("estimate", plan, option, environment=OFFLINE)


@pytest.mark.parametrize("edition", ["current", "2026-04"])
def test_same_job_costs_the_same_with_and_without_a_model(edition: str) -> None:
    def costs(*more: str) -> dict[tuple[str, str], Any]:
        document = as_json_here(*EXAMPLE, "--edition", edition, *more)
        fields = ("training", "hours", "too_small", "setup", "monthly", "serves")
        return {
            (cost["platform"], cost["name"]): [cost[field] for field in fields]
            for cost in document["costs"]
        }

    alone, named = costs(), costs("--model", "meta-llama/Llama-3.1-8B-Instruct")
    hosted = costs("--model", "gpt-4.1-mini")
    assert alone == named == hosted
    assert alone["local", "A100 40 GB on demand"][0] is not None


def test_wide_range_of_a_price_is_shown_next_to_the_older_price() -> None:
    text = " ".join(ok_here(*EXAMPLE, environment={"COLUMNS": "100"}).split())
    assert re.search(r"Llama 4 Scout \$40\.50 .{0,40}\(\$13\.05–450\.00\) 2026-04!: \$20\.25", text)


def test_inference_only_and_misspelled_models_are_refused() -> None:
    for arguments in (EXAMPLE, ("estimate", "rows.jsonl")):
        done = run_here(*arguments, "--model", "gpt-5.4")
        assert done.returncode == 1 and done.stdout == ""
        assert "inference only" in done.stderr
    assert "gpt-4.1-mini" in run_here(*EXAMPLE, "--model", "gpt-4.1-mni").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--examples", 0, "--mean-tokens", 3), 2, "0 is not a whole number"),
        (("--examples", 5, "--mean-tokens", "nan"), 2, "nan is not a number"),
        (("--examples", 5, "--mean-tokens", -1), 2, "-1"),
        (("--examples", 5, "--mean-tokens", 3, "--epochs", "inf"), 2, "inf is not a number"),
        (("--examples", 5), 2, "--mean-tokens"),
        ((), 2, "Nothing to estimate"),
        (("rows.jsonl",), 2, "--model"),
        (("a.yaml", "--examples", 5, "--mean-tokens", 3), 2, "cannot be combined"),
        (("--examples", 5, "--mean-tokens", 3, "--requests-per-month", 5), 2, "--tokens-in"),
        (("--examples", 5, "--mean-tokens", 3, "--serve-on", "abacus"), 2, "a100-40gb"),
        (("--examples", 5, "--mean-tokens", 3, "--price", "openai/gpt-4o=1"), 2, "PROVIDER/MODEL"),
        (
            ("--examples", 5, "--mean-tokens", 3, "--share-data", "--confidential"),
            2,
            "cannot be combined",
        ),
        (("--examples", 5, "--mean-tokens", 3, "--gpu", "abacus"), 2, "--gpu '8 GB'"),
        (("--examples", 5, "--mean-tokens", 3, "--gpu", "T4"), 2, "Name an open model"),
        (("--examples", 10**12, "--mean-tokens", 10**9), 2, "more tokens than any training"),
    ],
)
def test_invalid_arguments_get_a_specific_error(
    arguments: tuple[object, ...], code: int, words: str
) -> None:
    done = run_here("estimate", *arguments)
    assert done.returncode == code and done.stdout == ""
    assert words in done.stderr


def test_serve_on_accepts_a_gpu_display_name() -> None:
    month = ("--requests-per-month", 1e5, "--tokens-in", 500, "--tokens-out", 100)
    named = as_json_here(*EXAMPLE, *month, "--serve-on", "A100 80 GB")
    assert named["monthly"]["gpu"] == "a100-80gb"


def test_subcent_costs_are_shown_without_monthly_figures() -> None:
    text = ok_here(
        "estimate", "--examples", 5, "--mean-tokens", 3, "--tokens-in", 5, "--tokens-out", 5
    )
    assert "$0.0002" in text and not re.search(r"\$0\.00(?!\d)", text)
    assert "GPU cheaper above" in text and "per month" not in text.split("GPU: ")[0]


@pytest.mark.parametrize("columns", [40, 60])
def test_narrow_terminal_hides_columns_but_keeps_names(columns: int) -> None:
    text = ok_here(*EXAMPLE, environment={"COLUMNS": str(columns)})
    table = text.split("\nHidden columns")[0].splitlines()
    assert all(len(line) <= columns for line in table[1:])
    assert "A100 40 GB" in text and "Hidden columns: " in text
    assert any(line.startswith("* GPT-4.1-mini") and "$22.50" in line for line in table)


def test_custom_prices_override_and_typos_are_reported(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir(exist_ok=True)
    own = config / "prices.toml"
    own.write_text('[[prices]]\nprovider = "vertex"\nmodel = "gemini-3.5-flash"\n'
                   'kind = "training"\nusd = 2.00\n')  # fmt: skip
    costs = training(as_json_here(*EXAMPLE, "--price", "openai/gpt-4.1/training=4"))
    assert costs["Vertex Gemini 3.5 Flash"] == 9 and costs["OpenAI GPT-4.1"] == 18
    own.write_text(own.read_text().replace("usd", "uds"))
    done = run_here(*EXAMPLE)
    assert done.returncode == 1
    assert "prices.toml, row 1, line 5" in done.stderr and "usd" in done.stderr


def test_rows_are_counted_with_each_model_tokenizer(tmp_path: Path) -> None:
    file = chat(tmp_path / "rows.jsonl", 20)
    document = as_json_here("estimate", file, "--model", "gpt-4.1-mini", "--epochs", 2)
    report = as_json_here("check", file, "--target", "openai-sft")
    assert document["tokens"] == 2 * report["tokens"]["total"]
    assert document["counted"]["examples"]["value"] == 20
    rates = {"OpenAI GPT-4.1-mini": 5.0, "OpenAI GPT-4o": 25.0}
    for name, usd in rates.items():
        assert training(document)[name] == pytest.approx(document["tokens"] * usd / 1e6, rel=1e-12)
    llama = next(cost for cost in document["costs"] if cost["name"] == "Together Llama 3.1 8B")
    assert f"{document['tokens']:,}" not in llama["training"]["source"]
    month = document["monthly"]
    trained_mean = report["trained_tokens"]["total"] / 20
    assert month["tokens_out"]["value"] == round(trained_mean) and month["requests"] is None
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert run_here("estimate", empty, "--model", "gpt-4.1").returncode == 1
    empty.write_text('{"foo": 1}\n')
    done = run_here("estimate", empty, "--model", "gpt-4.1")
    assert done.returncode == 1 and "ftwizard check" in done.stderr


@pytest.mark.slow
def test_plan_and_its_rows_give_equal_estimates(tmp_path: Path) -> None:
    tiny = make_tiny(tmp_path / "tiny")
    file = chat(tmp_path / "rows.jsonl", 30)
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps({
        "data": {"files": {"train": str(file)}}, "model": {"name": str(tiny)},
    }))  # fmt: skip
    of_plan, of_rows = (
        as_json_here("estimate", plan),
        as_json_here("estimate", file, "--model", tiny),
    )
    for result in (of_plan, of_rows):
        assert {"parts", "steps", "parameters", "disk", "time", "memory"} <= set(result)
        assert result["counted"]["total"]["value"] == result["tokens"]
        spot = next(cost for cost in result["costs"] if cost["name"] == "A100 40 GB spot")
        assert "article" not in spot["hours"]["source"], "the article's hours are for an 8B model"
        assert 0 < spot["training"]["value"] < spot["setup"]["value"]
    assert training(of_plan) == training(of_rows) and of_plan["steps"] == of_rows["steps"]
    hosted = training(of_plan)["OpenAI GPT-4o"]
    assert hosted and hosted < of_plan["tokens"] * 25 / 1e6 / 2, "this model has one token per byte"
