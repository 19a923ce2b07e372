"""Describe an architecture, or the whole space if no architecture is named.

Name the architecture by run= and trial=, by comparison= with a folder of nas compare, or by arch= with the
architecture's text, a published name, a genotype file, or a text file with one architecture per line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.options import RESULT_FORMATS
from nas.cli.output import print_json, print_table
from nas.cli.selection import ArchitectureOptions, named_architecture, selected
from nas.cli.space_tree import sampling_milliseconds, size_text, tree
from nas.config.overrides import TUNE
from nas.errors import UsageError
from nas.space.notation import recorded_choices, recorded_conditions
from nas.validation import one_of

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.space.base import SearchSpace

INHERITED_GROUPS = ("space",)
"""Parts that the run or the genotype file names; the data set is the user's choice."""
ASSUMED_NOTE = " (assumed, since data= is not set)"


@dataclass(frozen=True)
class DescribeOptions(ArchitectureOptions):
    """Settings of `nas describe`; `configs/describe.yaml` describes them."""

    device: str
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, RESULT_FORMATS)


def main(settings: Settings) -> int:
    options = DescribeOptions.of(settings)
    if options.run is not None or options.comparison is not None:
        selection = selected(settings, options, INHERITED_GROUPS)
        facts = _described(selection.settings, selection.space, selection.text, options.device)
        _print(facts, selection.settings, options)
    elif options.arch is None:
        settings = settings.inheriting({})
        _print(_space_facts(settings, settings.make("space"), options), settings, options)
    elif (lines := _lines(options.arch)) is not None:
        _describe_many(settings.inheriting({}), options, lines)
    else:
        settings, text, _ = named_architecture(settings, options.arch, INHERITED_GROUPS)
        _print(_described(settings, settings.make("space"), text, options.device), settings, options)
    return 0


def _print(facts: Mapping[str, Any], settings: Settings, options: DescribeOptions) -> None:
    if options.format == "json":
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            _print_mapping(name, value)
        elif isinstance(value, list) and name == "decisions":
            print("\n".join([f"{name}:", *(f"  {line}" for line in value)]))
        else:
            assumed = ASSUMED_NOTE if name == "task" and not settings.choices.get("data") else ""
            print(f"{name + ':':12} {f'{value:,}' if isinstance(value, int) else value}{assumed}")


def _print_mapping(name: str, values: Mapping[str, Any]) -> None:
    if values:
        print(f"{name}:")
    width = max(map(len, values), default=0)
    for key, value in values.items():
        print(f"  {key:{width}}  {', '.join(value) if isinstance(value, list) else value}")


def _lines(arch: str) -> list[str] | None:
    """Architectures of a text file; None if `arch` is something else."""
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
        raise UsageError(f"arch={arch} holds no architecture; expected one per line")
    return lines


def _describe_many(settings: Settings, options: DescribeOptions, lines: list[str]) -> None:
    """Every architecture of a file, as one object or one row each."""
    space = settings.make("space")
    descriptions = []
    for number, line in enumerate(lines, 1):
        try:
            descriptions.append(_described(settings, space, line, options.device))
        except UsageError as error:
            raise UsageError(f"arch={options.arch}, architecture {number}: {error}") from None
    if options.format == "json":
        print_json(descriptions)
        return
    rows = [
        [one["text"], f"{one['params']:,}", f"{one['flops']:,}", ", ".join(one.get("uncounted", ()))]
        for one in descriptions
    ]
    head = ["arch", "params", "flops", "uncounted"]
    columns = len(head) if any(row[-1] for row in rows) else len(head) - 1
    assumed = "" if settings.choices.get("data") else ASSUMED_NOTE
    title = f"space={settings.choices['space']}, {descriptions[0]['task']}{assumed}"
    print_table(title, head[:columns], [row[:columns] for row in rows], text=("arch", "uncounted"))


def _described(settings: Settings, space: SearchSpace, text: str, device: str) -> dict[str, Any]:
    from nas.training.summary import DEFAULT_TASK, describe

    task = settings.make("data").task if settings.choices.get("data") else DEFAULT_TASK
    return describe(space, text, task, device=device)


def _space_facts(settings: Settings, space: SearchSpace, options: DescribeOptions) -> dict[str, Any]:
    milliseconds = sampling_milliseconds(space)
    if options.format == "json":
        return {
            "space": settings.choices["space"],
            "size": space.size,
            "size_is_exact": space.size_is_exact,
            "sample_ms": milliseconds,
            "settings": settings.node("space"),
            "decisions": dict(recorded_choices(space)),
            "kinds": {name: type(kind).__name__.lower() for name, kind in space.decisions.items()},
            "conditions": {name: dict(parents) for name, parents in recorded_conditions(space)},
        }
    return {
        "space": settings.choices["space"],
        "size": size_text(space),
        "sample": f"{milliseconds:.2g} ms",
        "settings": {key: value for key, value in settings.node("space").items() if key != TUNE},
        "decisions": tree(space),
    }
