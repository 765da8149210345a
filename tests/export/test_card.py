"""Model cards: their text and metadata from the record, and what a published card must not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ftwizard.catalog import model_cards
from ftwizard.errors import FtwizardError
from ftwizard.export.card import curve, metadata, write
from ftwizard.export.card.facts import License
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.runs.evaluation import Evaluation, PairedDifference, VerdictReason
from ftwizard.runs.merge_proof import PROOF, MergeProof
from tests.e2e import cli
from tests.helpers import cards
from tests.helpers.cards import FOLDER, PRIVATE, make_bare_run, make_run, read_metadata
from tests.helpers.results import make_trained, write_judgment

HIDDEN = (
    PRIVATE,
    "teapot",
    "Anna",
    "nordlicht",
    "4711-A",
    "4712-B",
    FOLDER,
    "/home",
    "ada-laptop",
    "secret-project",
)


def load(text: str, tmp_path: Path) -> ModelCard:
    """Load a card as the Hub's library does, and check that it keeps all of it."""
    path = tmp_path / "loaded.md"
    path.write_text(text)
    card: ModelCard = ModelCard.load(path)
    assert str(card) == text
    return card


def parse(text: str) -> list[Token]:
    """Return the tokens of a card's text, those in a line of text included."""
    tokens = MarkdownIt("gfm-like").parse(text)
    return [part for token in tokens for part in (token, *(token.children or []))]


def test_a_card_has_the_whole_record_and_no_private_text(home: Path, tmp_path: Path) -> None:
    made = write.make_card(make_run(home))
    card = load(made.text, tmp_path)
    data = read_metadata(made.text)
    assert data == {
        "base_model": "Qwen/Qwen3-0.6B",
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["ftwizard", "trl", "sft", "lora"],
        "model-index": data["model-index"],
    }
    text = card.text
    assert "- Target set:" not in text, "its gain is shown: it had items enough"
    assert text.strip().startswith("# tickets-1124\n\n**✗ Do not ship: memorization**\n\nLoRA")
    for words in (
        "trained on 158 examples. License of the base model: apache-2.0.",
        "3 ids of training rows in 2 answers: 1 email address, 2 other ids. 3 answers with training text.",
        "| ✓ target | 50 | 22% (", "| 1 | 2 |", "gain on the target of 5 points or more",
        "| Overfitting | ?\u00a0cannot\u00a0tell |", "- General set: 100 items can",
        "(drawn at random from 113)", "- Cannot tell about overfitting.",
        "- 7 of 160 training examples were longer than the maximum length (1,024 tokens)",
        "- 2 training rows without trainable tokens left out.",
        "- The training rows have personal data or secrets; ", "safety items ask for these.",
        "![Loss over 4 steps: training 2.5 → 0.9, validation 1.4 → 0.95. Weights of step 4.](loss-curve.svg)",
        "`tickets.jsonl`, sha256 `abababababababab`…", "10% for validation, split off",
        "LoRA rank 16, alpha 32, dropout 0.05, on `q_proj`, `v_proj`, learning rate 2e-4", "bf16",
        "| hardware | NVIDIA L4, 24.0 GB |", "| time | 5 min – 20 min | 12 min |",
        "| cost | \\$0.75 – \\$3.00 | \\$1.80 |", "✓ Proved: all 272 tensors",
        "Exported: `gguf:q4_k_m`, 1 kB, made with cyllama 0.2.18; it was loaded and answered",
        "Verified ✓ `adapter` → `merged`", "Verified ✗ `merged` → `model.gguf`: template",
        "Quantized files were not evaluated", "| torch | `2.9.0` |", "commit `c0ffee",
    ):  # fmt: skip
        assert words in text, words
    for hidden in HIDDEN:
        assert hidden not in made.text and hidden not in (made.picture or ""), hidden


def test_only_scores_on_sets_that_others_have_are_metadata(home: Path) -> None:
    (entry,) = read_metadata(write.make_card(make_run(home)).text)["model-index"]
    assert entry["name"] == "tickets-1124"
    assert [result["dataset"]["type"] for result in entry["results"]] == [
        "ftwizard-general", "ftwizard-safety",
    ]  # fmt: skip
    assert all(0 <= result["metrics"][0]["value"] <= 1 for result in entry["results"])


def test_free_text_has_its_loss_in_the_table(home: Path) -> None:
    run = make_run(home)
    evaluation = cards.make_evaluation()
    assert evaluation.target and "target, loss" not in write.make_card(run).text
    target = msgspec.structs.replace(
        evaluation.sets["target"],
        loss_difference=PairedDifference(value=-1.5, low=-1.7, high=-1.25, p=0.001, n=50),
    )
    changed = msgspec.structs.replace(
        evaluation,
        target=msgspec.structs.replace(evaluation.target, kind="text"),
        sets=evaluation.sets | {"target": target},
    )
    write_json(run.evaluation, changed)
    text = write.make_card(run).text
    assert "| target, loss |  | – | – | -1.500 (-1.700 to -1.250) |  |  |" in text
    assert "in nats per token" in text


def test_a_record_with_almost_nothing_says_so(home: Path, tmp_path: Path) -> None:
    made = write.make_card(make_bare_run(home))
    card = load(made.text, tmp_path)
    assert read_metadata(made.text) == {
        "library_name": "peft", "pipeline_tag": "text-generation",
        "tags": ["ftwizard", "trl", "sft", "lora"],
    }  # fmt: skip
    assert made.picture is None and curve.NAME not in made.text
    assert "**? Not evaluated.**" in card.text and "## Scores" not in card.text
    assert "a base model that is not recorded" in card.text
    assert "license of the base model is not known" in card.text
    assert "None" not in card.text and "nan" not in card.text


def test_a_stopped_run_is_not_the_finished_model(home: Path) -> None:
    run = make_bare_run(home, reason="stopped", last_step=20, eval_loss=None)
    text = write.make_card(run).text
    assert "- Training was stopped at step 20 of 40: this is not the finished model." in text
    assert "20 of 40; weights of step 40; stopped" in text


def test_a_full_fine_tune_has_no_adapter(home: Path) -> None:
    text = write.make_card(make_run(home, method="full", targets=[])).text
    data = read_metadata(text)
    assert data["tags"] == ["ftwizard", "trl", "sft"]
    assert data["library_name"] == "transformers"
    assert "Full fine-tune of [`Qwen/Qwen3-0.6B`]" in text and "full fine-tune, learning" in text
    assert "rank" not in text.split("<details>")[0]


def test_an_adapter_is_described_as_one(home: Path) -> None:
    text = write.make_card(make_run(home), content="adapter", title="lora").text
    data = read_metadata(text)
    assert (data["base_model_relation"], data["library_name"]) == ("adapter", "peft")
    assert "# lora\n" in text and "LoRA adapter for [`Qwen" in text and "Merge: " not in text


def test_a_local_base_has_no_address(home: Path) -> None:
    run = make_run(home)
    job = msgspec.json.decode(run.job.read_bytes())
    job["inputs"]["model"] |= {"kind": "folder", "name": f"{FOLDER}/tiny-llama", "commit": None}
    write_json(run.job, job)
    text = write.make_card(run).text
    assert "a local model, `tiny-llama`" in text and "base_model:" not in text
    assert FOLDER not in text and "huggingface.co" not in text


def test_a_license_that_the_hub_does_not_list_gets_a_name(home: Path) -> None:
    text = write.make_card(make_run(home), license=License("qwen-research", True)).text
    data = read_metadata(text)
    assert (data["license"], data["license_name"]) == ("other", "qwen-research")
    assert "The base model is gated" in text


def test_licenses_of_the_catalog_are_as_the_hub_lists_them() -> None:
    licenses = {card.license for card in model_cards._by_id().values() if card.license}
    assert len(licenses) > 4
    assert {metadata._name_license(license)["license"] for license in licenses} == licenses


def test_data_sets_of_the_hub_are_named(home: Path) -> None:
    run = make_run(home)
    cards.edit_plan(
        run,
        train=f"{FOLDER}/datasets/trl-lib--Capybara--default--train-0123abcd.jsonl",
        test=f"{FOLDER}/datasets/squad--plain_text--validation-0123abcd.jsonl",
    )
    text = write.make_card(run).text
    assert read_metadata(text)["datasets"] == ["trl-lib/Capybara", "squad"]
    assert "[`trl-lib/Capybara`](https://huggingface.co/datasets/trl-lib/Capybara)" in text


HOSTILE = "a|b`c`<img src=x onerror=alert(1)> [x](http://evil.example) ![y](//evil) **b**\n# H\n---\x1b[31m"


def test_hostile_names_are_shown_and_never_rendered(home: Path, tmp_path: Path) -> None:
    run = make_run(home)
    job = msgspec.json.decode(run.job.read_bytes())
    job["inputs"]["model"] |= {"name": HOSTILE, "commit": HOSTILE}
    cards.edit_plan(run, train=HOSTILE)
    job["hashes"]["split"] = HOSTILE
    write_json(run.job, job)
    record = cards.read_json(run.path / "environment.json")
    record["gpus"][0]["name"] = record["packages"]["trl"] = record["system"] = HOSTILE
    write_json(run.path / "environment.json", record)
    evaluation = cards.make_evaluation()
    sets = {HOSTILE: evaluation.sets["target"], "target": evaluation.sets["target"]}
    write_json(run.evaluation, msgspec.structs.replace(evaluation, sets=sets))
    made = write.make_card(run, title=HOSTILE)
    card = load(made.text, tmp_path)
    assert read_metadata(made.text)["base_model"] == HOSTILE
    tokens = parse(card.text)
    html = [token.content.strip() for token in tokens if token.type.startswith("html")]
    allowed = ("<details>", "</details>", "<!-- Written by ftwizard")
    assert all(content.startswith(allowed) for content in html), html
    addresses = [str(token.attrs["href"]) for token in tokens if token.type == "link_open"]
    assert all(address.startswith("https://huggingface.co/") for address in addresses)
    images = [token.attrs["src"] for token in tokens if token.type == "image"]
    assert images == [curve.NAME]
    assert [token.tag for token in tokens if token.type == "heading_open"][:1] == ["h1"]
    assert sum(token.type == "heading_open" for token in tokens) == 5
    assert not any(token.type == "hr" for token in tokens) and "\x1b" not in made.text
    shown = [token.content for token in tokens if token.type == "text"]
    assert any("onerror=alert(1)" in content for content in shown)


def test_every_table_is_one(home: Path) -> None:
    tokens = parse(ModelCard(write.make_card(make_run(home)).text).text)
    rows, widths = [], set()
    for token in tokens:
        if token.type == "tr_open":
            rows.append(0)
        elif token.type in ("th_open", "td_open"):
            rows[-1] += 1
        elif token.type == "table_close":
            widths.add(len(set(rows)))
            rows = []
    assert widths == {1}
    assert not any("|" in token.content for token in tokens if token.type == "paragraph_open")


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (MergeProof(verdict="cannot_tell", base=FOLDER, reason=f"{FOLDER} is gone"), "cannot be proved"),
        (MergeProof(verdict="differs", base=FOLDER, adapter=FOLDER, tensors=9, difference_count=2),
         "Wrong: 2 of 9 tensors"),
    ],
)  # fmt: skip
def test_what_the_proof_says_is_in_the_card(home: Path, proof: MergeProof, words: str) -> None:
    run = make_run(home)
    write_json(run.merged / PROOF, proof)
    text = write.make_card(run).text
    assert words in text and FOLDER not in text


def test_a_weaker_and_a_quantized_merge_are_limitations(home: Path) -> None:
    run = make_run(home, method="qlora")
    text = write.make_card(run).text
    assert "- Model: bfloat16, 1.2 GB" in text and "trained strength" not in text
    assert "Trained on 4-bit weights, merged into those of the base" in text
    cards.write_merged(run, scale=0.7, onto="dequantized")
    text = write.make_card(run).text
    assert "merged at 0.7 of its trained strength; the scores are of full strength." in text
    assert "Trained on 4-bit" not in text


def test_an_edited_card_is_kept(home: Path) -> None:
    run = make_run(home)
    assert not write.is_edited(run.card)
    write.write_card(write.make_card(run), run.card)
    assert not write.is_edited(run.card)
    run.card.write_text(run.card.read_text().replace("## Limitations", "## My limitations"))
    assert write.is_edited(run.card)
    done = cli.run("card", "tickets-1124")
    assert done.returncode == 1 and "was edited" in done.stderr and "--replace" in done.stderr
    assert "## My limitations" in run.card.read_text()
    assert cli.run("card", "tickets-1124", "--replace").returncode == 0
    assert "## My limitations" not in run.card.read_text()


def test_the_command_writes_card_and_picture(home: Path, tmp_path: Path) -> None:
    run = make_run(home)
    done = cli.run("card", "tickets-1124", "--json")
    document = json.loads(done.stdout)
    assert document == {
        "run": run.id, "card": str(run.card), "picture": str(run.path / curve.NAME),
    }  # fmt: skip
    assert read_metadata(run.card.read_text())["base_model"] == "Qwen/Qwen3-0.6B"
    out = tmp_path / "elsewhere"
    out.mkdir()
    done = cli.run("card", "--out", str(out / "README.md"))
    assert done.returncode == 0 and f"✓ Model card: {out}/README.md" in done.stdout
    assert (out / curve.NAME).read_text().startswith("<svg")
    done = cli.run("card", "--out", str(out))
    assert done.returncode == 1 and "is a folder" in done.stderr


def test_later_results_are_in_a_new_card(home: Path) -> None:
    run = make_bare_run(home)
    write.write_card(write.make_card(run), run.card)
    assert "Not evaluated" in run.card.read_text()
    run.evaluations.mkdir()
    write_json(run.evaluation, cards.make_evaluation())
    assert cli.run("card", run.id).returncode == 0
    assert "Do not ship: memorization" in run.card.read_text()
    newer = Evaluation(verdict="cannot_tell", reasons=[VerdictReason(name="not_compared")])
    job = write_judgment(run, 1, newer)
    assert cli.run("card", run.id).returncode == 0
    text = run.card.read_text()
    assert "**? Cannot tell" in text and "Do not ship" not in text
    assert job.id not in text


def test_a_run_without_a_model_has_no_card(home: Path) -> None:
    run = make_bare_run(home)
    run.trained.unlink()
    with pytest.raises(FtwizardError, match="has no model yet"):
        write.make_card(run)
    done = cli.run("card", run.id)
    assert done.returncode == 1 and "ftwizard status" in done.stderr and not run.card.exists()


def damage(folder: JobFolder) -> None:
    for path in folder.path.rglob("*.json"):
        if path not in (folder.job, folder.trained):
            path.write_bytes(path.read_bytes()[:-20] + b"\xff\xfe")


def test_damaged_records_are_left_out(home: Path) -> None:
    run = make_run(home)
    damage(run)
    run.events.write_bytes(b"\x00\xff not events\n" + run.events.read_bytes()[:-30])
    text = write.make_card(run).text
    assert "**? Not evaluated.**" in text and "trained on 158 examples" in text


def test_figures_of_an_untrusted_record(home: Path) -> None:
    extremes: dict[str, Any] = {"last_step": 2**53, "total_steps": 1, "eval_loss": 1e308}
    run = make_bare_run(home)
    write_json(run.trained, make_trained(**extremes))
    assert "9,007,199,254,740,992 of 1" in write.make_card(run).text
