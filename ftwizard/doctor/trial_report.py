"""Checks from the events of the trial: what works, what does not, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.doctor import error_hints, versions
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.doctor.trial import Crashed, Failed, Started, Succeeded, TrialEvent
from ftwizard.hardware.nvml import NvidiaDriver
from ftwizard.text import make_visible

REINSTALL = "Reinstall it: pip install --force-reinstall 'ftwizard[local]'"


def to_checks(event: TrialEvent, driver: NvidiaDriver) -> Iterator[Check]:
    """Yield the checks that follow from an event of the trial."""
    if isinstance(event, Started):
        return
    if isinstance(event, Crashed):
        yield _explain_death(event)
    elif isinstance(event, Failed):
        yield _explain_failure(event)
    elif event.trial == "devices":
        yield from check_devices(event, driver)
    else:
        yield from _describe_success(event)


def get_check_name(trial: str) -> str:
    """Return the name of a trial's check: ``step: GPU 0`` for ``step cuda:0``."""
    kind, _, device = trial.partition(" ")
    kinds = {"4bit": "4-bit", "flash": "flash-attn", "devices": "CUDA", "": "trial"}
    where = "CPU" if device == "cpu" else device.replace("cuda:", "GPU ")
    label = kinds.get(kind, kind)
    return f"{label}: {where}" if where and kind in ("step", "4bit", "flash") else label


def check_devices(event: Succeeded, driver: NvidiaDriver) -> Iterator[Check]:
    """Compare torch's devices with the driver's, and each card with torch's kernels."""
    facts = event.facts
    version, build = str(facts.get("version")), versions.parse_version(facts.get("cuda"))
    if not facts.get("available"):
        if driver.cards:
            yield _explain_no_device(facts, driver, version)
        return
    driver_version = f"driver {driver.version}, " if driver.version else ""
    platform = f"CUDA {versions.format_version(build)}" if build else "CUDA"
    problems = []
    for card in facts.get("cards") or []:
        capability = (int(card["capability"][0]), int(card["capability"][1]))
        archs = [str(arch) for arch in facts.get("archs") or []]
        if build and archs and not versions.has_kernels(capability, archs):
            card_name = make_visible(str(card["name"]), 40)
            problems.append(versions.explain_no_kernels(card_name, capability, archs, version))
    if problems:
        yield missing("CUDA", *problems[0])
        return
    count = len(facts.get("cards") or [])
    fewer = f", {count} of {len(driver.cards)} GPUs" if 0 < count < len(driver.cards) else ""
    yield ok("CUDA", f"works: {driver_version}torch {make_visible(version)} for {platform}{fewer}")


def _explain_no_device(facts: dict[str, object], driver: NvidiaDriver, version: str) -> Check:
    if not facts.get("cuda"):
        detail = f"torch {make_visible(version)} is not built for CUDA: it cannot use the GPU"
        return missing("CUDA", detail, versions.get_build_command(driver))
    errors = facts.get("why")
    error = " ".join(map(str, errors)) if isinstance(errors, list) else ""
    meaning, fix = error_hints.explain_error(error) if error else ("no reason given", "")
    detail = f"torch sees no GPU, but the driver lists one: {meaning}"
    return missing("CUDA", detail, fix or f"Run nvidia-smi, then see {versions.LOCALLY}")


def _describe_success(event: Succeeded) -> Iterator[Check]:
    kind = event.trial.partition(" ")[0]
    took, dtype = f"{event.seconds:.1f} s", event.facts.get("dtype")
    descriptions = {
        "step": f"forward, backward and optimizer in {dtype}, {took}",
        "4bit": f"gradient through an NF4 layer of bitsandbytes in {dtype}, {took}",
        "flash": f"works, {took}",
        "libraries": f"transformers, peft and trl import, {took}",
    }
    if kind in descriptions:
        yield ok(get_check_name(event.trial), descriptions[kind])


def _explain_failure(event: Failed) -> Check:
    kind = event.trial.partition(" ")[0]
    meaning, fix = error_hints.explain_error(event.error)
    detail = f"{make_visible(event.doing)} failed: {meaning}"
    return _report(event.trial, detail, fix or _get_default_fix(kind))


def _explain_death(event: Crashed) -> Check:
    kind = event.trial.partition(" ")[0]
    meaning, fix = error_hints.SIGNALS.get(event.signal, ("", ""))
    if event.out_of_memory:
        meaning, fix = "", "Add memory to this machine or container, or close other programs."
    elif event.hung and ("GPU" in get_check_name(event.trial) or kind == "devices"):
        fix = "Look for Xid errors: sudo dmesg   Then reboot."
    elif event.hung:
        fix = "Try again when the disk and the CPU are less busy."
    if event.stuck:
        meaning = "it cannot be killed: the driver hangs"
        fix = error_hints.REBOOT
    last = f"; last output: {event.log}" if event.log and not event.hung else ""
    detail = (
        f"while {make_visible(event.doing)}, {event.how}{f': {meaning}' if meaning else ''}{last}"
    )
    return _report(event.trial, detail, fix or _get_default_fix(kind))


def _report(trial: str, detail: str, fix: str) -> Check:
    """Return a failed check; 4-bit on the CPU is optional, so only a warning."""
    is_optional = trial == "4bit cpu"
    return (warning if is_optional else missing)(get_check_name(trial), detail, fix)


def _get_default_fix(kind: str) -> str:
    if kind in ("4bit", "bitsandbytes"):
        return "pip install -U bitsandbytes   Diagnose it: python -m bitsandbytes"
    if kind == "flash":
        return "pip uninstall flash-attn, or recipe.attention: sdpa in the plan"
    return REINSTALL
