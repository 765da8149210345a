"""Waits of threads for an alarm."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

from ftwizard.alarm import Alarm


def test_wait_ends_when_the_alarm_is_set() -> None:
    alarm, results = Alarm(), list[bool]()
    assert not alarm.is_set() and not alarm.wait(0.01)
    threads = [threading.Thread(target=lambda: results.append(alarm.wait(600.0))) for _ in range(3)]
    for thread in threads:
        thread.start()
    alarm.set()
    for thread in threads:
        thread.join(timeout=60)
    alarm.set()
    assert results == [True] * 3 and alarm.is_set() and alarm.wait(600.0)


def test_alarms_leave_no_descriptor_open() -> None:
    before = _count_descriptors()
    for _ in range(50):
        Alarm().set()
    assert _count_descriptors() <= before


def _count_descriptors() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
