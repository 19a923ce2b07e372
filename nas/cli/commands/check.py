"""Check that your own parts meet the requirements for their kind.

Every part that you name is checked: nas check space=my_space, nas check strategy=my_strategy space=my_space. Each
requirement gets one line; the exit code is 1 if any check fails. For a space, a random architecture is also trained for
one epoch, drawn, and exported in every format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nas.cli.options import CheckOptions
from nas.cli.output import print_json
from nas.config.settings import compose
from nas.errors import UsageError, UserError, located
from nas.formatting import plural

if TYPE_CHECKING:
    from nas.cli.promises import PromisesOf
    from nas.config.settings import Settings

QUICK_SUPERNET = ("supernet.epochs=1", "supernet.train_images=200")
"""Shared weights are only checked, not trained to the end."""
CONSTRUCTION_PROMISE = "it can be constructed"
"""The first promise of every part."""
DEPENDENCY_REASON = "it depends on a requirement that failed above"


@dataclass(frozen=True)
class Verdict:
    """The result of one promise.

    Args:
        part: Checked part, such as `space=mine`.
        promise: The promise as a sentence.
        kept: Whether it holds; None: it was not checked.
        reason: What broke and where, or why it was not checked; empty if it holds.
    """

    part: str
    promise: str
    kept: bool | None
    reason: str = ""


def main(settings: Settings) -> int:
    from nas.cli.promises import KINDS

    options = CheckOptions.of(settings)
    named = {word.lstrip("+~").partition("=")[0].partition(".")[0] for word in settings.arguments}
    kinds = [kind for kind in KINDS if kind in named]
    if not kinds:
        raise UsageError(f"no part to check; name one of {', '.join(KINDS)}, such as space=my_space")
    settings = _completed(settings, named)
    verdicts: list[Verdict] = []
    for kind in kinds:
        part = f"{kind}={settings.choices[kind]}"
        if options.format == "table":
            print(f"{part}{_context(kind, settings)}")
        printed: set[str] = set()
        for verdict in _verdicts(part, KINDS[kind], settings, options):
            verdicts.append(verdict)
            if options.format == "table":
                print(_line(verdict, printed), flush=True)
    if options.format == "table":
        print(_summary(verdicts))
    else:
        print_json([asdict(verdict) for verdict in verdicts])
    return int(any(verdict.kept is False for verdict in verdicts))


def _completed(settings: Settings, named: set[str]) -> Settings:
    """Settings with the other parts that the named ones need, so each can be checked by name only."""
    more = []
    if "table" in named and "evaluator" not in named:
        more.append("evaluator=table")
    if settings.choices.get("evaluator") == "shared_weights":
        more += [
            word for word in QUICK_SUPERNET if not any(a.startswith(word.split("=")[0]) for a in settings.arguments)
        ]
    return compose(settings.command, [*settings.arguments, *more], settings.config_dir) if more else settings


def _context(kind: str, settings: Settings) -> str:
    """The other parts that a part is checked with, ` with space=mine and data=digits`; the defaults among them."""
    used = ["space"] if kind in ("strategy", "evaluator", "table") else []
    if kind == "evaluator" and "data" in settings.evaluated():
        used.append("data")
    parts = [f"{part}={settings.choices[part]}" for part in used]
    return f" with {' and '.join(parts)}" if parts else ""


def _verdicts(part: str, promises_of: PromisesOf, settings: Settings, options: CheckOptions) -> Iterator[Verdict]:
    try:
        promises = promises_of(settings, options)
    except UserError as error:
        yield Verdict(part, CONSTRUCTION_PROMISE, kept=False, reason=str(error))
        return
    except Exception as error:  # noqa: BLE001 (a user's part may raise anything)
        yield Verdict(part, CONSTRUCTION_PROMISE, kept=False, reason=located(error))
        return
    yield Verdict(part, CONSTRUCTION_PROMISE, kept=True)
    dependent = ""
    for promise in promises:
        reason = promise.skipped or dependent
        if reason:
            yield Verdict(part, promise.text, None, reason)
            continue
        broken = promise.broken()
        yield Verdict(part, promise.text, broken is None, broken or "")
        if broken is not None and promise.needed:
            dependent = DEPENDENCY_REASON


def _line(verdict: Verdict, printed: set[str]) -> str:
    """A verdict as text.

    Args:
        verdict: The verdict.
        printed: Reasons printed so far; each is printed once.
    """
    if verdict.kept:
        return f"  ✓ {verdict.promise}"
    if verdict.kept is None:
        reason = "" if verdict.reason == DEPENDENCY_REASON else f" ({verdict.reason})"
        return f"  - {verdict.promise}: not checked{reason}"
    reason = "as above" if verdict.reason in printed else verdict.reason
    printed.add(verdict.reason)
    return f"  ✗ {verdict.promise}: {reason}"


def _summary(verdicts: Sequence[Verdict]) -> str:
    kept, broken, unchecked = (sum(v.kept is state for v in verdicts) for state in (True, False, None))
    rest = f", {unchecked} not checked" if unchecked else ""
    return f"{plural(kept, 'requirement')} met, {broken} failed{rest}"
