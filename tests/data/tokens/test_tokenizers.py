"""Tokenizers of targets and models, and the token counts that they give."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.platforms import all_targets, get_target
from ftwizard.data.tokens import tokenizers
from ftwizard.data.tokens.tokenizers import Vocabulary, choose_encoding, make_counter
from tests.helpers.tokens import WORDS, multilingual, tiktoken_encoding

OPENAI: list[Vocabulary] = ["o200k_base", "cl100k_base"]
# Unicode versions differ in which code points are letters, so unassigned ones are left out.
ASSIGNED = st.text(st.characters(exclude_categories=("Cs", "Cn")))


def make_count(vocabulary: Vocabulary) -> tokenizers.TokenCount:
    return make_counter(tokenizers.Encoding(name="", vocabulary=vocabulary, sources=(), as_of=""))


@pytest.mark.parametrize("vocabulary", OPENAI)
@given(text=ASSIGNED)
def test_counts_match_tiktoken(vocabulary: Vocabulary, text: str) -> None:
    assert make_count(vocabulary)(text) == len(tiktoken_encoding(vocabulary).encode_ordinary(text))


@pytest.mark.parametrize("vocabulary", OPENAI)
def test_counts_match_tiktoken_in_many_languages(vocabulary: Vocabulary) -> None:
    oracle, count = tiktoken_encoding(vocabulary), make_count(vocabulary)
    for seed in range(300):
        for message in multilingual(random.Random(seed)).messages:
            assert count(message["content"]) == len(oracle.encode_ordinary(message["content"]))
    for words in WORDS.values():
        for text in (*words, "\n\n".join(words), "\t" * 50 + words[0], words[0] * 500):
            assert count(text) == len(oracle.encode_ordinary(text))


@pytest.mark.parametrize("special", ["<|endoftext|>", "<|im_start|>", "<|endofprompt|>", "<s>"])
@pytest.mark.parametrize("vocabulary", [*OPENAI, "llama3", "qwen3", "o200k_harmony"])
def test_special_tokens_in_text_are_counted_as_text(vocabulary: Vocabulary, special: str) -> None:
    assert make_count(vocabulary)(special) > 1
    assert make_count(vocabulary)(f"a {special} b") > 3


@given(text=st.text())
def test_counting_never_raises(text: str) -> None:
    assert make_count("o200k_base")(text) <= len(text.encode("utf-8", "surrogatepass"))
    assert make_count("qwen3")(text) >= bool(text)


def test_every_target_has_its_own_or_an_estimated_encoding() -> None:
    own = {name for name, item in all_targets().items() if choose_encoding(item).own}
    assert own == {name for name in all_targets() if name.startswith(("openai", "foundry"))} | {
        "bedrock-llama"
    }
    for item in map(choose_encoding, all_targets().values()):
        assert item.factor[0] <= item.factor[1] <= item.factor[2]
        assert item.own == (item.factor == (1, 1, 1))
        assert item.sources and item.as_of
        assert item.own or "estimate" in item.words or "approximate" in item.words
        make_counter(item)("text")


@pytest.mark.parametrize(
    ("model", "name", "own"),
    [
        ("gpt-4.1-mini-2025-04-14", "o200k_base", True),
        ("gpt-4o", "o200k_base", True),
        ("o4-mini", "o200k_base", True),
        ("ft:gpt-4o-mini-2024-07-18:org::id", "o200k_base", True),
        ("gpt-5.4-mini", "o200k_base", True),
        ("gpt-4-0613", "cl100k_base", True),
        ("gpt-3.5-turbo", "cl100k_base", True),
        ("meta-llama/Llama-3.3-70B-Instruct-Reference", "llama3", True),
        ("meta.llama3-1-8b-instruct-v1:0:128k", "llama3", True),
        ("meta/llama3_1@llama-3.1-8b-instruct", "llama3", True),
        ("Qwen/Qwen3-32B", "qwen3", True),
        ("openai/gpt-oss-20b", "o200k_harmony", True),
        ("Qwen/Qwen3.6-35B-A3B", "qwen3", False),
        ("meta/llama4@llama-4-scout-17b-16e-instruct", "o200k_base", False),
        ("us.anthropic.claude-3-haiku-20240307-v1:0", "claude", False),
        ("amazon.nova-lite-v1:0:300k", "nova", False),
        ("gemini-2.5-flash", "gemini", False),
        ("somebody/unheard-of-7b", "llama3", False),
        ("", "llama3", False),
    ],
)
def test_model_name_determines_the_tokenizer(model: str, name: str, own: bool) -> None:
    encoding = choose_encoding(get_target("together-sft"), model)
    assert (encoding.name, encoding.own) == (name, own)


def test_model_folder_is_counted_with_its_own_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(
        BPE(vocab={c: n for n, c in enumerate([*alphabet, "ab"])}, merges=[("a", "b")])
    )
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.add_special_tokens(["<|im_end|>"])
    bare.save(str(tmp_path / "tokenizer.json"))
    folder = tokenizers.from_folder(tmp_path, "my/model")
    count = make_counter(folder)
    assert (folder.words, folder.is_exact) == ("my/model", False)
    assert count("abab") == 2
    assert count("é") == 2
    assert count("<|im_end|>") == len("<|im_end|>")
    assert count("a\ud800") == 2
