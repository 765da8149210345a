"""What can be made of a file of rows: mended, split or converted, always as a new file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftwizard.data import targets
from ftwizard.screens import checking, flow, making
from ftwizard.screens.draft import SHARES, Draft, shown_path
from ftwizard.screens.making import Made
from ftwizard.screens.new_file import NewFile
from ftwizard.screens.new_names import free_name
from ftwizard.screens.outcome import Outcome
from ftwizard.screens.pick import Pick
from ftwizard.text import visible

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp

_USE = ("use the new file", "keep the old one")


async def repair(app: FtwizardApp, draft: Draft) -> Made | None:
    """Mend the rows into a new file, say what was changed; return it if it is to be used."""
    source = draft.plan.data.files.train
    named = await app.push_screen_wait(
        NewFile(
            "Repair into a new file",
            "Only what is sure is changed; rows that would need a guess are left out and listed. "
            "Your file stays as it is.",
            [("New file", free_name(source, "fixed"))],
            "writes it",
        )
    )
    if named is None:
        return None
    argv = ("check", *checking.judged(draft.plan, draft.target, source), "--fix", named[0])
    found = await flow.work(app, f"Repairing {visible(shown_path(source), 50)}", *argv)
    if found is None:
        return None
    done = found["repairs"]
    account = making.changes(done, "Nothing had to be changed.")
    if not await app.push_screen_wait(Outcome(making.written(done, named[0]), account, *_USE)):
        return None
    return Made(named[0], draft.plan.data.files.validation)


async def split(app: FtwizardApp, draft: Draft) -> Made | None:
    """Split the rows into a file to train on and one that validates; return both."""
    source = draft.plan.data.files.train
    share = dict(SHARES)[making.share_of(draft)].capitalize()
    without = "\nRows that cannot be read are left out." if making.bad_rows(draft) else ""
    named = await app.push_screen_wait(
        NewFile(
            "Split into two files",
            f"{share} validates; rows of one prompt stay together.{without}",
            [
                ("To train on", free_name(source, "train")),
                ("To validate", free_name(source, "validation")),
            ],
            "writes them",
        )
    )
    if named is None:
        return None
    title = f"Splitting {visible(shown_path(source), 50)}"
    found = await flow.work(app, title, *making.split_command(draft, named[0], named[1]))
    return None if found is None else Made(*named)


async def convert(app: FtwizardApp, draft: Draft) -> Made | None:
    """Write the rows in the form of a target; return the file if it is to be used."""
    source, found = draft.plan.data.files.train, draft.checked or {}
    options = making.convertible(found)
    name = await app.push_screen_wait(
        Pick("Convert for which place?", "", options, str(draft.target or ""))
    )
    if name is None:
        return None
    words = targets.target(name).words
    named = await app.push_screen_wait(
        NewFile(
            f"Convert for {words}",
            "What cannot be carried there is listed by row, never dropped quietly.",
            [("New file", free_name(source, name))],
            "writes it",
        )
    )
    if named is None:
        return None
    argv = ("convert", *checking.arguments(draft.plan, source), "--target", name, "--out", named[0])
    done = await flow.work(app, f"Converting for {words}", *argv)
    if done is None:
        return None
    account = making.changes(done, "Every row is carried whole.")
    if not await app.push_screen_wait(Outcome(making.written(done, named[0]), account, *_USE)):
        return None
    return Made(named[0])
