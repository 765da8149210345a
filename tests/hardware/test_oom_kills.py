"""Out-of-memory kills counted from cgroups and ``/proc/vmstat``."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.hardware import machine

EVENTS = "memory.events"


@pytest.mark.parametrize(
    ("cgroup", "files", "kills"),
    [
        (
            "0::/user.slice/a.scope",
            {f"sys/fs/cgroup/user.slice/a.scope/{EVENTS}": 3, "proc/vmstat": 9},
            3,
        ),
        (
            "5:memory:/a/b\n1:cpu:/\n0::/",
            {f"sys/fs/cgroup/memory/{EVENTS}": 4, "proc/vmstat": 9},
            9,
        ),
        ("0::/../../x", {f"sys/fs/cgroup/{EVENTS}": 6, "proc/vmstat": 9}, 6),
        ("0::/", {"proc/vmstat": 7}, 7),
        (None, {"proc/vmstat": 8}, 8),
        ("0::/a", {f"sys/fs/cgroup/a/{EVENTS}": "max", "proc/vmstat": 2}, 2),
        ("0::/", {}, None),
    ],
    ids=["v2", "v1", "container", "root", "no-cgroups", "no-number", "nothing"],
)
def test_oom_kills_are_read_from_the_cgroup_of_this_process(
    tmp_path: Path, cgroup: str | None, files: dict[str, int | str], kills: int | None,
) -> None:  # fmt: skip
    (tmp_path / "proc" / "self").mkdir(parents=True)
    if cgroup is not None:
        (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup + "\n")
    for name, count in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"low 0\noom 1\noom_kill {count}\n")
    assert machine.count_oom_kills(tmp_path) == kills
