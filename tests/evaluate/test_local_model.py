"""Local answerers: shared weights, scale of the adapter, losses, and what the cache key covers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import batched_generation, local_model, placement
from ftwizard.evaluate.answer_cache import AnswerCache
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.local_model import LocalAnswerer, LocalModels
from ftwizard.plan.schema import Recipe
from ftwizard.runs.evaluation import ItemAnswer
from ftwizard.train import model_loading
from tests.helpers import training

FP32 = Recipe(precision="fp32")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a tiny model and an adapter that changes it much."""
    import torch
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("local")
    base = training.tiny_model(root)
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(model_loading.load_model(base, "fp32"), config).save_pretrained(root / "adapter")
    return base, root / "adapter"


def make_items(count: int) -> list[Item]:
    return [
        Item(
            id=f"i{n}",
            set="target",
            messages=[{"role": "user", "content": f"{n} cats" * (1 + n % 3)}],
            scorer="exact",
            expected=[f"answer {n}"],
            max_tokens=6,
        )
        for n in range(count)
    ]


def ask(models: LocalModels, arm: Arm, items: list[Item]) -> list[ItemAnswer]:
    answers: dict[str, ItemAnswer] = {}
    LocalAnswerer(arm, models).answer(items, lambda item, answer: answers.update({item.id: answer}))
    return [answers[item.id] for item in items]


def make_arms(folders: tuple[Path, Path]) -> tuple[Arm, Arm]:
    base, adapter = map(str, folders)
    return Arm(name="base", model=base), Arm(
        name="tuned", model=base, adapter=adapter, tokenizer=base
    )


def test_arms_on_one_base_load_it_once(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load_model = model_loading.load_model

    def count(base: Path, precision: str) -> Any:
        loaded.append(base)
        return load_model(base, precision)

    monkeypatch.setattr(model_loading, "load_model", count)
    models, items = LocalModels(AnswerCache(None), FP32), make_items(5)
    base, tuned = make_arms(folders)
    first = ask(models, base, items)
    changed = ask(models, tuned, items)
    assert changed != first
    assert ask(models, base, items) == first, "the adapter is off again"
    assert ask(models, tuned, items) == changed
    assert len(loaded) == 1


def test_the_adapter_can_be_weaker(folders: tuple[Path, Path]) -> None:
    models, items = LocalModels(AnswerCache(None), FP32), make_items(3)
    base, tuned = make_arms(folders)
    scaled = {
        scale: ask(models, msgspec.structs.replace(tuned, scale=scale), items)
        for scale in (0.0, 0.5, 1.0)
    }
    assert scaled[0.0] == ask(models, base, items)
    assert scaled[1.0] == ask(models, tuned, items), "the scale is restored"
    losses = [answers[0].loss for answers in scaled.values()]
    assert len(set(losses)) == 3


def test_a_scaled_adapter_is_that_part_of_its_update(folders: tuple[Path, Path]) -> None:
    """An adapter whose B was halved is the oracle."""
    from safetensors.torch import load_file, save_file

    _, adapter = folders
    half = adapter.parent / "half"
    shutil.copytree(adapter, half, dirs_exist_ok=True)
    tensors = load_file(half / "adapter_model.safetensors")
    tensors = {name: t / 2 if "lora_B" in name else t for name, t in tensors.items()}
    save_file(tensors, half / "adapter_model.safetensors")
    models, items = LocalModels(AnswerCache(None), FP32), make_items(3)
    _, tuned = make_arms(folders)
    weaker = ask(models, msgspec.structs.replace(tuned, scale=0.5), items)
    oracle = ask(models, msgspec.structs.replace(tuned, adapter=str(half)), items)
    assert [answer.text for answer in weaker] == [answer.text for answer in oracle]
    assert [answer.loss for answer in weaker] == pytest.approx([answer.loss for answer in oracle])


def test_losses_are_those_of_transformers(folders: tuple[Path, Path]) -> None:
    """Only the expected answer and its end count, not earlier answers of the conversation."""
    import torch

    models = LocalModels(AnswerCache(None), FP32)
    base, _ = make_arms(folders)
    earlier = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    (item,) = make_items(1)
    (answer,) = ask(models, base, [msgspec.structs.replace(item, messages=earlier)])
    answerer = LocalAnswerer(base, models)
    prompt = answerer.encoder.prompt_ids(earlier, None)
    tail = answerer.encoder.tokenizer("answer 0<|im_end|>")["input_ids"]
    model = model_loading.load_model(folders[0], "fp32").eval()
    ids = torch.tensor([prompt + tail])
    labels = torch.tensor([[-100] * len(prompt) + tail])
    assert answer.loss_tokens == len(tail)
    assert answer.loss == pytest.approx(
        float(model(input_ids=ids, labels=labels).loss.detach()), rel=1e-5
    )
    text = "the cat sat"
    ids = torch.tensor([answerer.encoder.tokenizer(text)["input_ids"]])
    (loss,) = answerer.compute_text_losses([text])
    assert loss.tokens == ids.shape[1] - 1
    expected = float(model(input_ids=ids, labels=ids).loss.detach())
    assert loss.total / loss.tokens == pytest.approx(expected, rel=1e-5)


def test_the_key_covers_what_the_answer_depends_on(folders: tuple[Path, Path]) -> None:
    base, tuned = make_arms(folders)
    (item,) = make_items(1)
    replace = msgspec.structs.replace
    cache = AnswerCache(None)

    def key(arm: Arm, item: Item = item, precision: Any = "fp32") -> str:
        return LocalAnswerer(arm, LocalModels(cache, Recipe(precision=precision))).key(item)

    others = {
        "base": key(base),
        "tuned": key(tuned),
        "scale": key(replace(tuned, scale=0.5)),
        "system": key(replace(base, system="Be brief.")),
        "shots": key(replace(base, shots=[[{"role": "user", "content": "a"}]])),
        "precision": key(base, precision="bf16"),
        "limit": key(base, replace(item, max_tokens=7)),
        "prompt": key(base, replace(item, messages=[{"role": "user", "content": "x"}])),
        "expected": key(base, replace(item, expected=["x"])),
    }
    assert len(set(others.values())) == len(others)
    assert key(base, replace(item, id="j", category="x", line=3)) == others["base"]
    assert key(replace(base, name="checkpoint 3", scale=0.5)) == others["base"]


def test_a_prompt_beyond_the_context_has_no_answer(folders: tuple[Path, Path]) -> None:
    models = LocalModels(AnswerCache(None), FP32)
    base, _ = make_arms(folders)
    long, short = make_items(2)
    long = msgspec.structs.replace(long, messages=[{"role": "user", "content": "x" * 600}])
    answers = ask(models, base, [long, short])
    assert answers[0].score and answers[0].score.value is None
    assert answers[0].score.note.startswith("The prompt has 6")
    assert answers[1].score is None


def test_a_prompt_that_the_template_rejects_has_no_answer(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folders[0], other)
    template = (other / "chat_template.jinja").read_text()
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    (other / "chat_template.jinja").write_text(strict + template)
    item, plain = make_items(2)
    system = [{"role": "system", "content": "Be brief."}, *item.messages]
    models = LocalModels(AnswerCache(None), FP32)
    arm = Arm(name="base", model=str(other))
    item = msgspec.structs.replace(item, messages=system)
    assert LocalAnswerer(arm, models).key(item)
    answers = ask(models, arm, [item, plain])
    assert answers[0].score and "no system" in answers[0].score.note
    assert answers[1].score is None


def test_an_adapter_of_another_base_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    base, adapter = folders
    other = tmp_path / "other"
    shutil.copytree(base, other)
    config = LlamaConfig.from_pretrained(base, hidden_size=64)
    LlamaForCausalLM(config).save_pretrained(other)
    models = LocalModels(AnswerCache(None), FP32)
    arm = Arm(name="tuned", model=str(other), adapter=str(adapter), tokenizer=str(base))
    with pytest.raises(FtwizardError, match="does not fit the base model: size mismatch for"):
        ask(models, arm, make_items(1))


def test_an_adapter_for_fewer_layers_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """PEFT leaves the other layers without an update and only warns."""
    from transformers import LlamaConfig, LlamaForCausalLM

    base, adapter = folders
    other = tmp_path / "other"
    shutil.copytree(base, other)
    LlamaForCausalLM(LlamaConfig.from_pretrained(base, num_hidden_layers=3)).save_pretrained(other)
    models = LocalModels(AnswerCache(None), FP32)
    arm = Arm(name="tuned", model=str(other), adapter=str(adapter), tokenizer=str(base))
    with pytest.raises(FtwizardError, match=r"lacks .*layers\.2\.mlp\.down_proj\.lora_A"):
        ask(models, arm, make_items(1))


def test_too_little_memory_is_an_error(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "LIBRARY_BYTES", 10**15)
    base, _ = make_arms(folders)
    with pytest.raises(FtwizardError, match="of memory, and"):
        ask(LocalModels(AnswerCache(None), FP32), base, make_items(1))


def test_models_with_other_caches_answer_in_simple_batches(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    models, items = LocalModels(AnswerCache(None), FP32), make_items(7)
    items = [msgspec.structs.replace(item, max_tokens=3 + n) for n, item in enumerate(items)]
    base, _ = make_arms(folders)
    expected = ask(models, base, items)
    monkeypatch.setattr(batched_generation, "supports", lambda model: False)
    monkeypatch.setattr(local_model, "SIMPLE_BATCH_SIZE", 3)
    assert ask(models, base, items) == expected


def test_a_batch_that_does_not_fit_is_reported(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    forward = batched_generation.Generator._forward

    def run_out(self: Any, ids: Any, mask: Any, *rest: Any) -> Any:
        if len(mask) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, ids, mask, *rest)

    messages: list[str] = []
    base, _ = make_arms(folders)
    items = make_items(5)
    expected = ask(LocalModels(AnswerCache(None), FP32), base, items)
    monkeypatch.setattr(batched_generation.Generator, "_forward", run_out)
    assert ask(LocalModels(AnswerCache(None), FP32, messages.append), base, items) == expected
    assert messages[-1] == "Out of memory: continuing with 2 answers at once."
