"""Malformed inputs of commands: each ends with one sentence, or was harmless; a refusal changes no file."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import Ran, run_here
from counts import Counts, Result
from full_disk import ARCH, TINY
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from workload import SmallSpace, write_parts

ODD = [
    "null", "-1", "0", "1.5", "1e999", "nan", ".nan", "-.inf", "true", "''", "' '", "[]", "{}", "[1,2]", "{a: 1}",
    "[[", "}", "${nothing}", "${oc.env:NOTHING}", "${seed}", "${", "a=b", "a,b", "choice(1,2)", "ä€", "\u200b", "\n",
    "\t", "\\", "'", '"', "x" * 5000, "!!python/object/apply:os.getpid []", "&a [*a]", "0x10", "1_0", "../..",
    "/dev/null", "/proc/self/mem", "%", "~",
]  # fmt: skip
"""Values that no setting expects, or few do."""
KEYS = [
    "seed", "run", "device", "duplicates", "budget", "budget.trials", "budget.hours", "budget.simulated_seconds",
    "budget.failures", "budget.trial_seconds", "objective", "objective.metric", "objective.direction", "store",
    "store.url", "strategy", "strategy.population_size", "strategy.sample_size", "space", "evaluator", "executor",
    "workers", "dir", "progress", "format", "sweep", "data", "trainer", "trainer.lr", "table", "supernet",
    "discretization", "experiment", "nothing", "+nothing", "~budget", "~run", "++budget.more", "space._target_",
    "+store.more", "hydra.run.dir", "", "a.b.c", "strategy@_global_", "-m", "--cfg", "--config-dir", "[0]",
]  # fmt: skip
PART_YAML = (
    "# a strategy\n_target_: nas.strategies.evolution.RegularizedEvolution\npopulation_size: 4\nsample_size: 2\n"
)
SEARCH = ["search", "--config-dir", "conf", "space=tiny", "evaluator=scoring", "budget.trials=2", "device=cpu",
          "progress=false", "run=one"]  # fmt: skip


def mutations(original: bytes) -> st.SearchStrategy[bytes]:
    """Copies of a file with bytes overwritten, removed, inserted, repeated or cut off."""
    size = len(original)

    def apply(steps: list[tuple[str, int, int, bytes]]) -> bytes:
        content = bytearray(original)
        for what, position, length, new in steps:
            if what == "cut":
                del content[position:]
            elif what == "remove":
                del content[position : position + length]
            elif what == "insert":
                content[position:position] = new
            elif what == "repeat":
                content[position:position] = content[position : position + length]
            else:
                content[position : position + len(new)] = new
        return bytes(content)

    step = st.tuples(
        st.sampled_from(["cut", "remove", "insert", "repeat", *["overwrite"] * 6]),
        st.integers(0, max(0, size - 1)),
        st.integers(1, 8),
        st.binary(min_size=1, max_size=4),
    )
    return st.lists(step, min_size=1, max_size=2).map(apply)


def text_mutations(original: str) -> st.SearchStrategy[bytes]:
    """Mutations, and copies of a text with one word replaced by something odd."""
    words = [word for word in original.replace(":", " : ").replace(",", " , ").split() if word]
    replaced = st.tuples(st.sampled_from(words), st.sampled_from(ODD)).map(
        lambda pair: original.replace(pair[0], pair[1], 1).encode()
    )
    return replaced | mutations(original.encode())


@dataclass
class Kind:
    """A kind of input.

    Args:
        name: What the table calls it.
        prepare: Prepares a folder; returns a valid input, and the inputs to try.
        run: Runs a command in a copy of the folder with one of them; returns the file that it must not change.
    """

    name: str
    prepare: Callable[[Path], tuple[Any, st.SearchStrategy[Any]]]
    run: Callable[[Path, Any], tuple[Ran, Path | None]]


def _overrides(folder: Path) -> tuple[Any, st.SearchStrategy[Any]]:
    write_parts(folder)
    run_here(folder, *SEARCH)
    assignment = st.tuples(
        st.sampled_from(KEYS), st.sampled_from(["=", "", "=="]), st.sampled_from(ODD) | st.text(max_size=12)
    ).map("".join)
    return [], st.lists(assignment, min_size=1, max_size=2)


def _run_overrides(folder: Path, assignments: list[str]) -> tuple[Ran, Path | None]:
    return run_here(folder, *SEARCH, *assignments), folder / "nas.db"


def _yaml(folder: Path) -> tuple[Any, st.SearchStrategy[Any]]:
    write_parts(folder)
    (folder / "conf" / "strategy").mkdir()
    space = (folder / "conf" / "space" / "tiny.yaml").read_text()
    mutated = [
        st.tuples(st.just(name), text_mutations(text))
        for name, text in (("strategy/mine.yaml", PART_YAML), ("space/tiny.yaml", space))
    ]
    return ("strategy/mine.yaml", PART_YAML.encode()), mutated[0] | mutated[1]


def _run_yaml(folder: Path, mutated: tuple[str, bytes]) -> tuple[Ran, Path | None]:
    name, content = mutated
    (folder / "conf" / "strategy" / "mine.yaml").write_text(PART_YAML)
    path = folder / "conf" / name
    path.write_bytes(content)
    return run_here(folder, *SEARCH, "strategy=mine"), path


def _genotype(folder: Path) -> tuple[Any, st.SearchStrategy[Any]]:
    ran = run_here(folder, "export", f"arch={ARCH}", "data=digits", "format=genotype", "out=exported")
    assert ran.code == 0, ran.err
    text = (folder / "exported" / "genotype.json").read_text()
    return text.encode(), text_mutations(text)


def _run_genotype(folder: Path, content: bytes) -> tuple[Ran, Path | None]:
    path = folder / "mutated.json"
    path.write_bytes(content)
    return run_here(folder, "export", "arch=mutated.json", "format=genotype", "out=again"), path


def _table(folder: Path) -> tuple[Any, st.SearchStrategy[Any]]:
    write_parts(folder)
    (folder / "conf" / "table").mkdir()
    (folder / "conf" / "table" / "mine.yaml").write_text(
        "_target_: nas.tables.table.Table\nfile: mine.csv\nspace: small\ncolumn: accuracy\nreported: [test]\n"
        "cost: seconds\nroot: null\n"
    )
    space = SmallSpace()
    rows = [f"{space.to_text(each)},0.{n}5,0.{n},{n}.5" for n, each in enumerate(space.architectures())]
    lines = ["arch,accuracy,test,seconds", *rows]
    text = "\n".join(lines) + "\n"
    return text.encode(), text_mutations(text)


def _run_table(folder: Path, content: bytes) -> tuple[Ran, Path | None]:
    path = folder / "mine.csv"
    path.write_bytes(content)
    arguments = [argument for argument in SEARCH if argument not in ("evaluator=scoring", "space=tiny")]
    return run_here(folder, *arguments, "space=small", "evaluator=table", "table=mine"), path


def _store(folder: Path) -> tuple[Any, st.SearchStrategy[Any]]:
    write_parts(folder)
    ran = run_here(folder, *SEARCH, "budget.trials=40")
    assert ran.code == 0, ran.err
    content = (folder / "nas.db").read_bytes()
    (folder / "nas.db").unlink()
    commands = st.sampled_from(["leaderboard", "export", "search"])
    return (content, "search"), st.tuples(mutations(content), commands)


def _run_store(folder: Path, mutated: tuple[bytes, str]) -> tuple[Ran, Path | None]:
    content, command = mutated
    path = folder / "nas.db"
    path.write_bytes(content)
    arguments = {
        "leaderboard": ["leaderboard", "--config-dir", "conf", "top=0"],
        "export": ["export", "--config-dir", "conf", "run=one", "format=genotype", "out=again"],
        "search": [*SEARCH, "budget.trials=42"],
    }[command]
    return run_here(folder, *arguments), None if command == "search" else path


RETRAIN = ["retrain", *TINY, f"arch={ARCH}", "out=trained"]


def _checkpoint(folder: Path) -> tuple[Any, st.SearchStrategy[Any]]:
    """The checkpoint of a training that was interrupted after its last epoch."""
    from nas.training.checkpoint import FileCheckpointer

    remove = FileCheckpointer.remove
    try:
        FileCheckpointer.remove = lambda self: None  # type: ignore[method-assign]
        ran = run_here(folder, *RETRAIN)
    finally:
        FileCheckpointer.remove = remove  # type: ignore[method-assign]
    assert ran.code == 0, ran.err
    shutil.rmtree(folder / "trained")
    content = (folder / "trained.partial.pt").read_bytes()
    return content, mutations(content)


def _run_checkpoint(folder: Path, content: bytes) -> tuple[Ran, Path | None]:
    path = folder / "trained.partial.pt"
    path.write_bytes(content)
    return run_here(folder, *RETRAIN), path


def _lines(folder: Path) -> tuple[Any, st.SearchStrategy[Any]]:
    write_parts(folder)
    ran = run_here(folder, *SEARCH)
    assert ran.code == 0, ran.err
    ran = run_here(folder, "store", "export", "out=runs.jsonl")
    assert ran.code == 0, ran.err
    content = (folder / "runs.jsonl").read_text()
    (folder / "nas.db").unlink()
    return content.encode(), text_mutations(content)


def _run_lines(folder: Path, content: bytes) -> tuple[Ran, Path | None]:
    path = folder / "runs.jsonl"
    path.write_bytes(content)
    return run_here(folder, "store", "import", "from=runs.jsonl"), path


KINDS = {
    "overrides": Kind("overrides", _overrides, _run_overrides),
    "yaml": Kind("YAML of parts", _yaml, _run_yaml),
    "genotypes": Kind("genotype files", _genotype, _run_genotype),
    "tables": Kind("tables", _table, _run_table),
    "stores": Kind("stores", _store, _run_store),
    "imports": Kind("JSONL imports", _lines, _run_lines),
    "checkpoints": Kind("checkpoints", _checkpoint, _run_checkpoint),
}


def try_inputs(folder: Path, kind: str, examples: int, *, seed: int = 0, seconds: float = 3600.0) -> Result:
    """Run a command with many malformed inputs.

    Args:
        folder: Empty folder.
        kind: A key of `KINDS`.
        examples: Number of inputs.
        seed: Of the inputs.
        seconds: Time after which no further input is tried.
    """
    inputs = KINDS[kind]
    original = folder / "original"
    original.mkdir()
    valid, generated = inputs.prepare(original)
    shutil.copytree(original, folder / "valid")
    ran, _ = inputs.run(folder / "valid", valid)
    assert ran.code == 0, ran.err
    counts, codes, started = Counts(), dict.fromkeys((0, 1, 2), 0), time.monotonic()

    @seeded(seed)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(generated)
    def attempt(value: Any) -> None:
        if time.monotonic() - started > seconds:
            return
        home = Path(tempfile.mkdtemp(dir=folder)) / "home"
        shutil.copytree(original, home)
        given_files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
        ran, file = inputs.run(home, value)
        found = ran.check(0, 1, 2)
        last = ran.err.rstrip().splitlines()[-1:]
        if not found.tracebacks and ran.code and not last[0].startswith("nas: "):
            found.tracebacks += 1
            found.notes.append(f"more than one sentence: {ran.err}")
        if ran.code == 2:
            found.different += sum(path.read_bytes() != before for path, before in given_files.items() if path != file)
        if found.notes or found.different:
            found.notes.append(f"input: {value!r}"[:1500])
        codes[ran.code] = codes.get(ran.code, 0) + 1
        nonlocal counts
        counts += found
        shutil.rmtree(home.parent)

    attempt()
    shown = ", ".join(f"{number} with exit code {code}" for code, number in sorted(codes.items()))
    return Result(f"malformed {inputs.name}", sum(codes.values()), counts, shown)
