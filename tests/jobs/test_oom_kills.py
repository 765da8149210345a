"""The kernel's kills for lack of memory are read where this kernel counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.hardware import machine

V1, V2 = "memory.oom_control", "memory.events"


@pytest.mark.parametrize(
    ("cgroup", "files", "found"),
    [
        ("0::/user.slice/a.scope", {f"sys/user.slice/a.scope/{V2}": 3, "proc/vmstat": 9}, 3),
        ("5:memory:/a/b\n1:cpu:/\n0::/", {f"sys/memory/a/b/{V1}": 4, f"sys/memory/{V1}": 9}, 4),
        ("5:memory:/docker/1f\n0::/", {f"sys/memory/{V1}": 5, "proc/vmstat": 9}, 5),
        ("0::/../../x", {f"sys/{V2}": 6, "proc/vmstat": 9}, 6),
        ("0::/", {"proc/vmstat": 7}, 7),
        (None, {"proc/vmstat": 8}, 8),
        ("0::/a", {f"sys/a/{V2}": "max", "proc/vmstat": 2}, 2),
        ("0::/", {}, None),
    ],
    ids=["v2", "v1", "container-v1", "container-v2", "root", "no-cgroups", "no-number", "nothing"],
)
def test_they_are_counted_where_this_process_is_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    cgroup: str | None, files: dict[str, int | str], found: int | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "sys")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    if cgroup is not None:
        (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup + "\n")
    for name, count in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"low 0\noom 1\noom_kill {count}\n")
    assert machine.count_oom_kills() == found
