"""What the trial said, as findings: what works, what does not, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.doctor import plain_words, versions
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.doctor.driver import Driver
from ftwizard.doctor.smoke import Died, Doing, Done, Failed, Word
from ftwizard.text import visible

AGAIN = "Install it again: pip install --force-reinstall 'ftwizard[local]'"


def checks(word: Word, driver: Driver) -> Iterator[Check]:
    """Return what a word of the trial tells; nothing for what is only under way."""
    if isinstance(word, Doing):
        return
    if isinstance(word, Died):
        yield _died(word)
    elif isinstance(word, Failed):
        yield _failed(word)
    elif word.trial == "devices":
        yield from devices(word, driver)
    else:
        yield from _done(word)


def name(trial: str) -> str:
    """Return what a finding about a trial is called: ``step: GPU 0`` for ``step cuda:0``."""
    kind, _, place = trial.partition(" ")
    kinds = {"4bit": "4-bit", "flash": "flash-attn", "devices": "CUDA", "": "trial"}
    where = "processors" if place == "cpu" else place.replace("cuda:", "GPU ")
    said = kinds.get(kind, kind)
    return f"{said}: {where}" if where and kind in ("step", "4bit", "flash") else said


def devices(word: Done, driver: Driver) -> Iterator[Check]:
    """Compare what torch sees with what the driver shows, and each card with torch's kernels."""
    facts = word.facts
    version, build = str(facts.get("version")), versions.pair(facts.get("cuda"))
    if not facts.get("available"):
        if driver.cards:
            yield _unseen(facts, driver, version)
        return
    known = f"driver {driver.version}, " if driver.version else ""
    what = f"CUDA {versions.dotted(build)}" if build else "ROCm" if facts.get("hip") else "CUDA"
    lacking = []
    for card in facts.get("cards") or []:
        capability = (int(card["capability"][0]), int(card["capability"][1]))
        archs = [str(one) for one in facts.get("archs") or []]
        if build and archs and not versions.has_kernels(capability, archs):
            called = visible(str(card["name"]), 40)
            lacking.append(versions.no_kernels(called, capability, archs, version))
    if lacking:
        yield missing("CUDA", *lacking[0])
        return
    count = len(facts.get("cards") or [])
    fewer = f", {count} of {len(driver.cards)} GPUs" if 0 < count < len(driver.cards) else ""
    yield ok("CUDA", f"works: {known}torch {visible(version)} for {what}{fewer}")


def _unseen(facts: dict[str, object], driver: Driver, version: str) -> Check:
    if not facts.get("cuda"):
        what = "built for ROCm" if facts.get("hip") else "a build for processors"
        found = f"torch {visible(version)} is {what}: it cannot use the GPU"
        return missing("CUDA", found, versions.build_for(driver))
    why = facts.get("why")
    said = " ".join(map(str, why)) if isinstance(why, list) else ""
    meaning, fix = plain_words.plain(said) if said else ("it does not say why", "")
    found = f"torch sees no GPU, though the driver shows one: {meaning}"
    return missing("CUDA", found, fix or f"Run nvidia-smi, then see {versions.LOCALLY}")


def _done(word: Done) -> Iterator[Check]:
    kind = word.trial.partition(" ")[0]
    took = f"{word.seconds:.1f} s"
    said = {
        "step": f"forward, backward and optimizer in {word.facts.get('dtype')}, {took}",
        "4bit": f"a gradient through an NF4 layer of bitsandbytes in {word.facts.get('dtype')}, "
        f"{took}",
        "flash": f"works, {took}",
        "libraries": f"transformers, peft and trl load, {took}",
    }
    if kind in said:
        yield ok(name(word.trial), said[kind])


def _failed(word: Failed) -> Check:
    kind = word.trial.partition(" ")[0]
    meaning, fix = plain_words.plain(word.error)
    found = f"{visible(word.doing)} failed: {meaning}"
    return _bad(word.trial, found, fix or _usual_fix(kind))


def _died(word: Died) -> Check:
    kind = word.trial.partition(" ")[0]
    means, fix = plain_words.SIGNALS.get(word.signal, ("", ""))
    if word.out_of_memory:
        means, fix = "", "Give this machine or container more memory, or end other programs."
    elif word.hung and ("GPU" in name(word.trial) or kind == "devices"):
        fix = "Look for Xid errors in: sudo dmesg   Then reboot."
    elif word.hung:
        fix = "Try again when the disk and the processors are less busy."
    if word.stuck:
        means = "it cannot even be killed: the driver hangs"
        fix = plain_words.REBOOT
    last = f"; it last printed: {word.log}" if word.log and not word.hung else ""
    found = f"while {visible(word.doing)}, {word.how}{f': {means}' if means else ''}{last}"
    return _bad(word.trial, found, fix or _usual_fix(kind))


def _bad(trial: str, found: str, fix: str) -> Check:
    """Return a finding as grave as it is: 4-bit on processors is a bonus, and so is flash-attn."""
    bonus = trial == "4bit cpu"
    return (warning if bonus else missing)(name(trial), found, fix)


def _usual_fix(kind: str) -> str:
    if kind in ("4bit", "bitsandbytes"):
        return "pip install -U bitsandbytes   Its own diagnosis: python -m bitsandbytes"
    if kind == "flash":
        return "pip uninstall flash-attn, or recipe.attention: sdpa in the plan"
    return AGAIN
