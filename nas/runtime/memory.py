"""Free memory of this machine."""

from __future__ import annotations

from pathlib import Path


def available_memory() -> float:
    """Bytes that can be allocated without swapping; infinite if that is unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    amounts = {line.split(":")[0]: float(line.split()[1]) * 1024 for line in lines if len(line.split()) > 1}
    return amounts.get("MemAvailable", float("inf"))
