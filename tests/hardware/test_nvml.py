"""Readings of the NVIDIA driver, decoded."""

from __future__ import annotations

import pytest

from ftwizard.hardware import nvml


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x1, []),
        (0x2, []),
        (0x4, ["power cap"]),
        (0x8, ["hardware slowdown"]),
        (0x48, ["thermal"]),
        (0x88, ["power brake"]),
        (0x64, ["thermal", "power cap"]),
    ],
)
def test_throttling_bits_decode_to_reasons(bits: int, words: list[str]) -> None:
    assert nvml.decode_throttling(bits) == words
