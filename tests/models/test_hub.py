"""Messages for an unreachable Hub, without exception class names."""

from __future__ import annotations

import ssl
from types import SimpleNamespace

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.models import hub


class ConnectError(Exception):
    """Stand-in for a library's exception."""


class ReadTimeout(Exception):
    """Stand-in for a library's exception."""


def _http_error(status: int) -> Exception:
    error = ConnectError("no")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectError("[Errno -2] Name or service not known"), "cannot be reached"),
        (ReadTimeout(""), "cannot be reached (timed out)"),
        (_http_error(503), "cannot be reached (HTTP 503)"),
        (
            ssl.SSLCertVerificationError("certificate verify failed"),
            "cannot be reached (certificate rejected)",
        ),
    ],
)
def test_unreachable_hub_message_gives_the_cause(
    error: Exception, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    _, problem = hub._hub_commit("owner/model", None)
    assert problem.text == f"the Hub {text}"
    assert "the network" in problem.fix("owner/model")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (
            "HuggingFaceTB/SmolLM2-135M-Instrct",
            "Did you mean HuggingFaceTB/SmolLM2-135M-Instruct? ",
        ),
        ("smollm2-135m-instrct", "Did you mean HuggingFaceTB/SmolLM2-135M-Instruct? "),
        ("Qwen/Qwen3-0.6B", "Unset HF_HUB_OFFLINE"),
        ("HuggingFaceTB/private-notes", "Unset HF_HUB_OFFLINE"),
    ],
)
def test_mistyped_model_name_offers_the_nearest(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FtwizardError) as error:
        hub.locate(name)
    assert error.value.hint.startswith(hint)
