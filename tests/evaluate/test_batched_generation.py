"""Batched generation: the same tokens as one by one, whatever shares a batch or a prefix."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import batched_generation
from ftwizard.evaluate.batched_generation import (
    MIN_DEADLINE_S,
    AnswerTimes,
    Finished,
    GenerationRequest,
    Generator,
    SlowAnswer,
    find_prefix,
    set_long_apart,
)
from ftwizard.train import generate, model_loading
from ftwizard.train.encoder import Encoder
from tests.helpers import training


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Encoder]:
    folder = training.tiny_model(tmp_path_factory.mktemp("generation"))
    model = model_loading.load_model(folder, "fp32").eval()
    return model, Encoder(model_loading.load_tokenizer(folder), model_loading.read_stop_ids(folder))


def make_requests(count: int, prefix: int = 0) -> list[GenerationRequest]:
    draw = random.Random(5)
    start = [draw.randrange(200) for _ in range(prefix)]
    return [
        GenerationRequest(
            key,
            start + [draw.randrange(200) for _ in range(1 + draw.randrange(30))],
            3 + draw.randrange(20),
            f"set {key % 2}",
        )
        for key in range(count)
    ]


def answer_one_by_one(model: Any, encoder: Encoder, request: GenerationRequest) -> Finished:
    (tokens,) = generate.generate_tokens(model, encoder, [request.prompt], request.limit)
    stops = encoder.stop_ids | encoder.end_ids
    end = next((index for index, token in enumerate(tokens) if token in stops), None)
    return Finished(request.key, tokens[:end], end is not None)


def generate_all(
    model: Any, encoder: Encoder, requests: list[GenerationRequest], **options: Any
) -> dict[int, Finished]:
    answers: dict[int, Finished] = {}
    options = {"max_rows": 4, **options}
    Generator(
        model,
        encoder.stop_ids,
        encoder.tokenizer.pad_token_id,
        on_done=lambda answer: answers.update({answer.key: answer}),
        **options,
    ).run(requests)
    return answers


@pytest.fixture
def stopping(tiny: tuple[Any, Encoder]) -> tuple[Any, Encoder]:
    """Return the model with tokens that it often chooses as tokens that end its answers."""
    model, encoder = tiny
    encoder.stop_ids = set(range(0, len(encoder.tokenizer), 9))
    return model, encoder


@pytest.mark.parametrize("prefix", [0, 40])
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_tokens_are_those_of_one_by_one(
    stopping: tuple[Any, Encoder], prefix: int, rows: int
) -> None:
    model, encoder = stopping
    requests = make_requests(23, prefix)
    expected = {row.key: answer_one_by_one(model, encoder, row) for row in requests}
    assert generate_all(model, encoder, requests, max_rows=rows) == expected
    assert {answer.ended for answer in expected.values()} == {True, False}
    in_order = generate_all(model, encoder, requests, max_rows=rows, may_start=lambda: True)
    assert in_order == expected


@pytest.mark.parametrize("name", ["sliding window", "alternating windows", "learned positions"])
def test_long_prompts_take_several_passes(
    stopping: tuple[Any, Encoder], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _, encoder = stopping
    model = make_model(name)
    requests = make_requests(9) + [
        row._replace(key=row.key + 9, group="prefix") for row in make_requests(6, 40)
    ]
    expected = {row.key: answer_one_by_one(model, encoder, row) for row in requests}
    monkeypatch.setattr(batched_generation, "PASS_TOKENS", 7)
    assert generate_all(model, encoder, requests) == expected


def answer_slowly(
    model: Any, monkeypatch: pytest.MonkeyPatch, requests: list[GenerationRequest], token_s: float
) -> tuple[dict[int, Finished], list[SlowAnswer]]:
    """Answer where a step takes a second, and a token of a prompt ``token_s``."""
    now, answers, slow = [0.0], dict[int, Finished](), list[SlowAnswer]()
    forward, times = Generator._forward, AnswerTimes(lambda: now[0])

    def wait(self: Generator, ids: Any, *rest: Any) -> Any:
        now[0] += token_s * ids.shape[1] if ids.shape[1] > 1 else 1.0
        return forward(self, ids, *rest)

    monkeypatch.setattr(batched_generation, "PASS_TOKENS", 20)
    monkeypatch.setattr(Generator, "_forward", wait)
    for part in set_long_apart(requests):
        Generator(
            model, set(), 0, max_rows=2, times=times,
            on_done=lambda answer: answers.update({answer.key: answer}),
            on_work=lambda _: slow.append(times.slow) if times.slow else None,
        ).run(part)  # fmt: skip
    return answers, slow


def test_a_prompt_of_500_times_the_length_is_named_and_cut(
    tiny: tuple[Any, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [GenerationRequest(key, [5, 6 + key], 3) for key in range(6)]
    requests.insert(0, GenerationRequest(9, [7] * 400, 3))
    answers, slow = answer_slowly(tiny[0], monkeypatch, requests, token_s=1.0)
    assert list(answers)[-1] == 9, "all others come before"
    assert answers[9].late_s and MIN_DEADLINE_S < answers[9].late_s <= MIN_DEADLINE_S + 20
    assert answers[9].tokens == [] and not answers[9].ended
    assert all(answer.late_s is None for key, answer in answers.items() if key != 9)
    assert {answer.key for answer in slow} == {9}
    assert slow[0].seconds == 40 and slow[0].usual_s == pytest.approx(5, abs=1)


def test_no_answer_is_cut_because_the_machine_is_slow(
    tiny: tuple[Any, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes minutes, and none is far from the others."""
    requests = [GenerationRequest(key, [5, 6 + key], 100 + key) for key in range(4)]
    answers, slow = answer_slowly(tiny[0], monkeypatch, requests, token_s=20.0)
    assert [len(answers[key].tokens) for key in range(4)] == [100, 101, 102, 103]
    assert all(answer.late_s is None for answer in answers.values()) and not slow


def test_a_suspended_process_does_not_use_up_the_time_of_an_answer() -> None:
    now = iter([0.0, 1.0, 3601.0, 3602.0]).__next__
    times = AnswerTimes(now)
    assert [times.read(), times.read(), times.read()] == [1.0, 31.0, 32.0]


def test_a_common_beginning_is_processed_once(
    stopping: tuple[Any, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, encoder = stopping
    requests = [row._replace(group="") for row in make_requests(12, 40)]
    processed = []
    forward = Generator._forward

    def count(self: Generator, ids: Any, *rest: Any) -> Any:
        processed.append(ids.numel() if ids.shape[1] > 1 else 0)
        return forward(self, ids, *rest)

    monkeypatch.setattr(Generator, "_forward", count)
    generate_all(model, encoder, requests)
    assert sum(processed) < 40 + 12 * 30
    processed.clear()
    monkeypatch.setattr(batched_generation, "MIN_PREFIX", 1000)
    generate_all(model, encoder, requests)
    assert sum(processed) > 40 * 12


def test_finished_rows_leave_the_batch(
    stopping: tuple[Any, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, encoder = stopping
    requests = make_requests(16)
    rows = []
    forward = Generator._forward

    def count(self: Generator, ids: Any, *rest: Any) -> Any:
        rows.append(len(ids) if ids.shape[1] == 1 else 0)
        return forward(self, ids, *rest)

    monkeypatch.setattr(Generator, "_forward", count)
    answers = generate_all(model, encoder, requests, max_rows=16)
    # Each answer's last token needs no further step, and neither does one that ended.
    steps = sum(len(answer.tokens) - (not answer.ended) for answer in answers.values())
    assert sum(rows) == pytest.approx(steps, abs=16)
    assert sum(rows) < 16 * max(len(answer.tokens) for answer in answers.values()) * 0.8


def test_no_row_begins_after_the_time_is_over(stopping: tuple[Any, Encoder]) -> None:
    model, encoder = stopping
    requests = make_requests(20)
    answers = generate_all(model, encoder, requests, may_start=lambda: False)
    assert list(answers) == [0], "the first one is always answered"
    left = iter([True] * 6)
    answers = generate_all(model, encoder, requests, may_start=lambda: next(left, False))
    assert sorted(answers) == [0, 1, 2, 3, 4, 5, 6], "those that were begun are completed"


def test_a_batch_that_does_not_fit_is_halved(
    stopping: tuple[Any, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model, encoder = stopping
    requests = make_requests(20)
    expected = {row.key: answer_one_by_one(model, encoder, row) for row in requests}
    forward, most = Generator._forward, [3]

    def run_out(self: Generator, ids: Any, mask: Any, *rest: Any) -> Any:
        if len(mask) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, ids, mask, *rest)

    monkeypatch.setattr(Generator, "_forward", run_out)
    messages: list[str] = []
    assert generate_all(model, encoder, requests, max_rows=8, say=messages.append) == expected
    assert messages == [
        "Out of memory: continuing with 4 answers at once.",
        "Out of memory: continuing with 2 answers at once.",
    ]
    most[0] = 0
    with pytest.raises(FtwizardError, match="not enough memory for one answer"):
        generate_all(model, encoder, requests, max_rows=8)


def test_prefix_leaves_a_token_of_each_prompt() -> None:
    start = list(range(30))
    assert find_prefix([start, [*start, 7], [*start, 7, 8]]) == start[:-1]
    assert find_prefix([[*start, 1], [*start, 2]]) == start
    assert find_prefix([[*start[:10], 99], start]) == []
    assert find_prefix([start]) == []
    assert find_prefix([start, start]) == start[:-1]


def make_model(name: str) -> Any:
    """Return a random model whose attention differs from Llama's."""
    import torch
    import transformers as library

    transformers: Any = library
    sizes: dict[str, Any] = {
        "vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    layers = ["sliding_attention", "full_attention", "sliding_attention"]
    config: Any = {
        "sliding window": lambda: transformers.MistralConfig(sliding_window=7, **sizes),
        "alternating windows": lambda: transformers.Gemma3TextConfig(
            sliding_window=7, layer_types=layers, **sizes
        ),
        "normalized keys": lambda: transformers.Qwen3Config(**sizes),
        "learned positions": lambda: transformers.GPT2Config(
            vocab_size=259, n_embd=32, n_layer=2, n_head=4, n_positions=256,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        ),
        "positions by bias": lambda: transformers.BloomConfig(
            vocab_size=259, hidden_size=32, n_layer=2, n_head=4, pad_token_id=0, bos_token_id=1,
            eos_token_id=2,
        ),
        "short convolutions": lambda: transformers.Lfm2Config(
            **sizes, layer_types=["conv", "full_attention", "conv"]
        ),
        "state space": lambda: transformers.MambaConfig(
            vocab_size=259, hidden_size=32, num_hidden_layers=2, pad_token_id=0, eos_token_id=2
        ),
    }[name]()  # fmt: skip
    torch.manual_seed(2)
    return transformers.AutoModelForCausalLM.from_config(config).float().eval()


@pytest.mark.parametrize(
    "name", ["sliding window", "alternating windows", "normalized keys", "learned positions"]
)
def test_other_kinds_of_attention_give_the_same_tokens(
    stopping: tuple[Any, Encoder], name: str
) -> None:
    _, encoder = stopping
    model = make_model(name)
    assert batched_generation.supports(model)
    requests = make_requests(9) + [
        row._replace(key=row.key + 9, group="prefix") for row in make_requests(6, 40)
    ]
    expected = {row.key: answer_one_by_one(model, encoder, row) for row in requests}
    assert generate_all(model, encoder, requests) == expected


@pytest.mark.parametrize("name", ["positions by bias", "short convolutions", "state space"])
def test_models_whose_rows_cannot_join_are_left_to_simple_batches(name: str) -> None:
    assert not batched_generation.supports(make_model(name))


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 3])
def test_a_real_model_gives_the_same_tokens(smollm2: Path, shots: int) -> None:
    model = model_loading.load_model(smollm2, "fp32").eval()
    encoder = Encoder(model_loading.load_tokenizer(smollm2), model_loading.read_stop_ids(smollm2))
    examples = [
        message
        for n in range(shots)
        for message in (
            {"role": "user", "content": f"What is {n} + 1?"},
            {"role": "assistant", "content": f"{n + 1}"},
        )
    ]
    texts = [
        "What is the capital of France?",
        "Name two colors.",
        "Is 7 prime, and why?",
        "Say hi.",
    ]
    requests = [
        GenerationRequest(
            key, encoder.prompt_ids([*examples, {"role": "user", "content": text}], None), 16 + key
        )
        for key, text in enumerate(texts)
    ]
    assert bool(find_prefix([row.prompt for row in requests]))
    expected = {row.key: answer_one_by_one(model, encoder, row) for row in requests}
    assert any(answer.ended for answer in expected.values())
    assert generate_all(model, encoder, requests, max_rows=3) == expected


def test_the_last_long_answer_is_expected_to_take_its_own_time(tiny: tuple[Any, Encoder]) -> None:
    model, encoder = tiny
    requests = [GenerationRequest(key, [5, 6], 60 if key == 6 else 3, "set") for key in range(7)]
    work: list[float] = []
    pad = encoder.tokenizer.pad_token_id
    Generator(model, set(), pad, max_rows=8, on_done=lambda _: None, on_work=work.append).run(
        requests
    )
    assert work[3] < -1, "its steps are those of several short answers"
    assert 0.5 < work[-2] < 1
