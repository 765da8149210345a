"""Keys that the user chose to keep: where they are, who may read them, and what is never shown."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from ftwizard import kept_keys
from ftwizard.errors import FtwizardError
from ftwizard.kept_keys import find_key, forget_key, keep_key, with_kept_keys

KEY = "sk-kept-0123456789"
FOUNDRY = {"AZURE_OPENAI_API_KEY": "azure-kept", "AZURE_OPENAI_ENDPOINT": "https://a.example"}


def test_nothing_is_kept_at_first() -> None:
    assert find_key("openai", {}) is None
    assert with_kept_keys({"A": "b"}) == {"A": "b"}
    assert not kept_keys.keys_file().exists()


def test_a_kept_key_completes_the_environment() -> None:
    keep_key("openai", {"OPENAI_API_KEY": f" {KEY}\n", "OTHER": "x"}, where="file")
    source = find_key("openai", {})
    assert source is not None
    assert (source.where, source.variable) == ("file", "OPENAI_API_KEY")
    assert source.path == str(kept_keys.keys_file())
    assert with_kept_keys({"A": "b"}) == {"A": "b", "OPENAI_API_KEY": KEY}
    assert with_kept_keys({}, "together") == {}
    assert KEY not in repr(source) + source.describe()
    assert "OTHER" not in kept_keys.keys_file().read_text()


def test_a_platform_without_a_key_has_nothing_to_keep() -> None:
    for service in ("bedrock", "vertex"):
        assert find_key(service, {"AWS_PROFILE": "work"}) is None
        with pytest.raises(FtwizardError) as failure:
            keep_key(service, {"AWS_SECRET_ACCESS_KEY": KEY}, where="file")
        assert "Log in instead: " in failure.value.hint
    assert kept_keys.get_value("") == "" and with_kept_keys({}) == {}
    assert not kept_keys.keys_file().exists()


def test_a_variable_wins() -> None:
    keep_key("openai", {"OPENAI_API_KEY": KEY}, where="file")
    environment = {"OPENAI_API_KEY": "sk-variable"}
    assert with_kept_keys(environment) == environment
    source = find_key("openai", environment)
    assert source is not None and source.where == "variable"
    blank = {"OPENAI_API_KEY": " "}  # as an unset variable of a script leaves it
    assert with_kept_keys(blank)["OPENAI_API_KEY"] == KEY


def test_a_kept_key_goes_only_to_its_own_address() -> None:
    keep_key("foundry", FOUNDRY, where="file")
    assert with_kept_keys({}) == FOUNDRY
    same = {"AZURE_OPENAI_ENDPOINT": "https://a.example"}
    assert with_kept_keys(same) == FOUNDRY
    other = {"AZURE_OPENAI_ENDPOINT": "https://b.example"}
    assert with_kept_keys(other) == other
    assert find_key("foundry", other) is None


def test_the_file_is_private(tmp_path: Path) -> None:
    keep_key("openai", {"OPENAI_API_KEY": KEY}, where="file")
    keep_key("foundry", FOUNDRY, where="file")
    file = kept_keys.keys_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]
    file.chmod(0o644)
    with pytest.raises(FtwizardError, match="others may read") as refused:
        with_kept_keys({})
    assert "chmod 600" in refused.value.hint
    assert KEY not in refused.value.text


def test_a_forgotten_key_is_gone() -> None:
    keep_key("openai", {"OPENAI_API_KEY": KEY}, where="file")
    keep_key("foundry", FOUNDRY, where="file")
    forget_key("openai")
    assert with_kept_keys({}) == FOUNDRY
    assert KEY not in kept_keys.keys_file().read_text()
    forget_key("foundry")
    forget_key("together")
    assert not kept_keys.keys_file().exists()


def test_a_damaged_file_is_an_error_without_its_content() -> None:
    keep_key("openai", {"OPENAI_API_KEY": KEY}, where="file")
    kept_keys.keys_file().write_text(f'{{"openai": "{KEY}')
    with pytest.raises(FtwizardError, match="damaged") as refused:
        find_key("openai", {})
    assert KEY not in refused.value.text


def test_an_empty_value_is_not_kept() -> None:
    with pytest.raises(FtwizardError, match="AZURE_OPENAI_ENDPOINT"):
        keep_key("foundry", {"AZURE_OPENAI_API_KEY": "x"}, where="file")


class SystemKeyring:
    """The keyring of a desktop session."""

    def __init__(self) -> None:
        self.passwords: dict[tuple[str, str], str] = {}
        self.asked = 0

    def set_password(self, service: str, name: str, password: str) -> None:
        self.passwords[service, name] = password

    def get_password(self, service: str, name: str) -> str | None:
        self.asked += 1
        return self.passwords.get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        del self.passwords[service, name]


def test_a_key_in_the_keyring_is_in_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = SystemKeyring()
    monkeypatch.setattr(kept_keys, "_load_keyring", lambda: keyring)
    assert with_kept_keys({}) == {} and keyring.asked == 0  # it could open a dialog
    keep_key("openai", {"OPENAI_API_KEY": KEY}, where="keyring")
    assert KEY not in kept_keys.keys_file().read_text()
    source = find_key("openai", {})
    assert source is not None and source.describe().endswith("kept in the keyring")
    assert with_kept_keys({}) == {"OPENAI_API_KEY": KEY}
    forget_key("openai")
    assert keyring.passwords == {} and find_key("openai", {}) is None


def test_a_keyring_that_never_answers_counts_as_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a screen, the dialog that unlocks it waits for ever."""
    keyring, answered = SystemKeyring(), threading.Event()
    monkeypatch.setattr(kept_keys, "_load_keyring", lambda: keyring)
    keep_key("openai", {"OPENAI_API_KEY": KEY}, where="keyring")
    monkeypatch.setattr(kept_keys, "KEYRING_S", 0.05)
    for name in ("get_password", "set_password", "delete_password"):
        monkeypatch.setattr(keyring, name, lambda *_: answered.wait(30))
    assert find_key("openai", {}) is None
    with pytest.raises(FtwizardError, match="did not take the key"):
        keep_key("openai", {"OPENAI_API_KEY": KEY}, where="keyring")
    with pytest.raises(FtwizardError, match="did not forget the key"):
        forget_key("openai")
    answered.set()


def test_without_a_keyring_the_file_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_keys, "_load_keyring", lambda: None)
    with pytest.raises(FtwizardError, match="no keyring"):
        keep_key("openai", {"OPENAI_API_KEY": KEY}, where="keyring")
    assert find_key("openai", {}) is None


def test_a_variable_is_looked_up_in_the_environment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_key("openai", {"OPENAI_API_KEY": KEY}, where="file")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert kept_keys.get_value("OPENAI_API_KEY") == KEY
    monkeypatch.setenv("OPENAI_API_KEY", "sk-variable")
    assert kept_keys.get_value("OPENAI_API_KEY") == "sk-variable"
    assert kept_keys.get_value("NEVER_SET_ANYWHERE") == ""
