"""Names of export forms."""

from __future__ import annotations

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.plan import export_forms


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("gguf", "gguf"), ("GGUF:Q4_K_M", "gguf-q4_k_m"), ("gguf:q4_k", "gguf-q4_k_m"),
        ("gguf:bf16", "gguf"), ("ollama", "ollama"), ("ollama:q8_0", "ollama-q8_0"),
        ("vllm", "vllm"),
    ],
)  # fmt: skip
def test_a_form_has_a_folder(name: str, folder: str) -> None:
    assert export_forms.parse(name).folder == folder


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ggfu", "Did you mean gguf?"), ("q4_k_m", "Did you mean gguf:q4_k_m?"),
        ("gguf:q4_m", "Did you mean gguf:q4_"), ("vllm:q4_0", "--quantization"), ("", "Choose from"),
    ],
)  # fmt: skip
def test_an_unknown_form_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(FtwizardError) as error:
        export_forms.parse(name)
    assert hint in error.value.hint and error.value.exit_code == 2
