"""Describe an architecture in words and numbers; without arch=, its space.

arch= is an architecture's text, a published name, a genotype file, or a text file with an architecture a line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.output import print_json, print_table
from nas.cli.selection import named_architecture
from nas.errors import UsageError
from nas.space.base import recorded_choices
from nas.training.summary import DEFAULT_TASK, describe
from nas.validation import one_of

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.space.base import SearchSpace

INHERITS = ("space",)
"""Parts that a genotype file names; the data set is the user's to give."""


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("table", "json"))
    arch = settings.get("arch")
    many = _lines(arch) if arch is not None else None
    if many is not None:
        return _many(settings.inheriting({}), many)
    if arch is None:
        settings = settings.inheriting({})
        facts = _space(settings, settings.make("space"))
    else:
        settings, text, _ = named_architecture(settings, arch, INHERITS)
        facts = _described(settings, settings.make("space"), text)
    if settings.get("format") == "json":
        print_json(facts)
        return 0
    for name, value in facts.items():
        if isinstance(value, dict):
            print(f"{name}:")
            width = max(map(len, value), default=0)
            for key, inner in value.items():
                print(f"  {key:{width}}  {', '.join(inner) if isinstance(inner, list) else inner}")
        else:
            print(f"{name + ':':12} {f'{value:,}' if isinstance(value, int) else value}")
    return 0


def _lines(arch: str) -> list[str] | None:
    """Architectures of a text file; None where `arch` is something else."""
    path = Path(arch).expanduser()
    if arch.endswith(".json") or len(arch) >= 256 or not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"arch={arch} cannot be read as text ({error})") from None
    if text.lstrip().startswith("{"):  # a genotype file of another name
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise UsageError(f"arch={arch} holds no architecture; expected one a line")
    return lines


def _many(settings: Settings, lines: list[str]) -> int:
    """Every architecture of a file: an object each, or a row each."""
    space = settings.make("space")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(_described(settings, space, line))
        except UsageError as error:
            raise UsageError(f"arch={settings.get('arch')}, architecture {number}: {error}") from None
    if settings.get("format") == "json":
        print_json(found)
        return 0
    rows = [[one["text"], f"{one['params']:,}", f"{one['flops']:,}", _missing(one)] for one in found]
    head = ["arch", "params", "flops", "uncounted"]
    columns = len(head) if any(row[-1] for row in rows) else len(head) - 1
    title = f"space={settings.choices['space']}, {found[0]['task']}"
    print_table(title, head[:columns], [row[:columns] for row in rows], text=("arch", "uncounted"))
    return 0


def _missing(facts: dict[str, Any]) -> str:
    return ", ".join(facts.get("uncounted", ()))


def _described(settings: Settings, space: SearchSpace, text: str) -> dict[str, Any]:
    task = settings.make("data").task if settings.choices.get("data") else DEFAULT_TASK
    return describe(space, text, task, device=settings.get("device"))


def _space(settings: Settings, space: SearchSpace) -> dict[str, Any]:
    return {
        "space": settings.choices["space"],
        "size": space.size,
        "settings": settings.node("space"),
        "decisions": dict(recorded_choices(space)),
    }
