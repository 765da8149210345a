"""Folders that tests read from."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
FIXTURES = Path(__file__).parent / "fixtures"
DOUBLES = Path(__file__).parent / "doubles"
TICKETS = ROOT / "assets" / "samples" / "tickets"
