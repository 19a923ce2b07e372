import io
import json
import re
import zipfile
from functools import partial

import pytest
import torch
from conftest import rows
from relaxed import Planted, Signs

from nas import Budget, UsageError, UserError, search
from nas.core import Objective, Proposal, Trial
from nas.data.digits import Digits
from nas.store.sqlite import SQLiteStore
from nas.strategies.darts import DARTS
from nas.strategies.pc_darts import PCDARTS
from nas.supernets.gradient import GradientSearch
from nas.supernets.memory_estimate import check_batch_memory
from nas.supernets.weights import Weights
from nas.training.recipe import Recipe
from search_spaces.nasbench201 import NASBench201

RECIPE = Recipe(epochs=1, batch_size=64, lr=0.1, nesterov=False, crop=0.0, flip=False, threads=1)
SMALL_SEARCH = [
    "space=nasbench201",
    "strategy=darts",
    "strategy.epochs=3",
    "supernet.network={channels: 4, cells: 1}",
    "supernet.train_images=128",
    "supernet.valid_images=128",
    "supernet.threads=1",
    "data=digits",
    "trainer.epochs=1",
    "trainer.train_images=200",
    "trainer.network={channels: 4, cells: 1}",
]


class Killed(BaseException):
    """A listener that raises an ordinary exception is dropped, and the search continues."""


def strategy(epochs=4, **more):
    return DARTS(space=Planted(), objective=Objective(), epochs=epochs, alpha_lr=0.05, **more)


def test_a_killed_search_resumes_to_the_same_cell_and_curve(tmp_path):
    whole = GradientSearch(Planted(), Signs(), RECIPE, tmp_path / "whole")(strategy(), 0, 5, "cpu", lambda *_: None)

    def die(_epochs, curve):
        if len(curve) == 2:
            raise Killed

    parts = GradientSearch(Planted(), Signs(), RECIPE, tmp_path / "parts")
    with pytest.raises(Killed):
        parts(strategy(), 0, 5, "cpu", die)
    seen = []
    again = parts(strategy(), 0, 5, "cpu", lambda _epochs, curve: seen.append(len(curve)))
    assert seen == [2, 3, 4]
    assert again.architecture == whole.architecture
    assert again.curve == whole.curve
    assert again.info == whole.info


def flipped(raw):
    """One bit of a weight."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        position = raw.index(archive.read(largest)) + largest.file_size // 2
    return raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]


@pytest.mark.parametrize("damaged", [lambda _: b"", lambda _: b"not a checkpoint", lambda raw: raw[:1000], flipped])
def test_a_damaged_checkpoint_is_reported_and_left_unchanged(tmp_path, damaged):
    run = GradientSearch(Planted(), Signs(), RECIPE, tmp_path)
    run(strategy(), 0, 5, "cpu", lambda *_: None)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damaged(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="damaged; remove it"):
        run(strategy(), 0, 5, "cpu", lambda *_: None)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_reported_before_the_search(tmp_path):
    (tmp_path / "file").write_text("mine")
    epochs = []
    with pytest.raises(UserError, match=r"search-0000\.pt cannot be written .*file is a file"):
        GradientSearch(Planted(), Signs(), RECIPE, tmp_path / "file" / "checkpoints")(
            strategy(), 0, 5, "cpu", lambda _epochs, curve: epochs.append(curve)
        )
    assert epochs == []


def test_the_seconds_of_a_search_include_its_validation(monkeypatch):
    """On a clock that stands still but for validation, which takes a thousand seconds."""
    real, now = Weights.measure, [0.0]

    def slow(weights, probs):
        now[0] += 1000.0
        return real(weights, probs)

    monkeypatch.setattr(Weights, "measure", slow)
    monkeypatch.setattr("nas.supernets.gradient.time.perf_counter", lambda: now[0])
    result = GradientSearch(Planted(), Signs(), RECIPE)(strategy(), 0, 5, "cpu", lambda *_: None)
    assert result.seconds == 1000.0 * len(result.curve)


def test_a_checkpoint_of_another_search_is_refused(tmp_path):
    GradientSearch(Planted(), Signs(), RECIPE, tmp_path)(strategy(), 0, 5, "cpu", lambda *_: None)
    other = GradientSearch(Planted(), Signs(), Recipe(epochs=1, batch_size=32, lr=0.1), tmp_path)
    with pytest.raises(UsageError, match=r"another training.*recipe"):
        other(strategy(), 0, 5, "cpu", lambda *_: None)


def test_the_largest_batch_that_fits_is_named():
    check_batch_memory(fixed=100.0, each=10.0, batch=64, key="supernet.batch_size", free=740.0)
    with pytest.raises(UserError, match=r"the largest that fits is supernet.batch_size=63"):
        check_batch_memory(fixed=100.0, each=10.0, batch=64, key="supernet.batch_size", free=739.0)


def test_a_batch_that_does_not_fit_is_refused_before_the_search(monkeypatch):
    monkeypatch.setattr("nas.supernets.weights.free_memory", lambda _device: 500.0)
    with pytest.raises(UserError, match=r"needs about .* free; "):
        GradientSearch(Planted(), Signs(), RECIPE)(strategy(), 0, 5, "cpu", lambda *_: None)


def test_each_trial_is_a_search_with_a_seed_of_its_own(tmp_path):
    def score(proposal, context):
        return {"valid_accuracy": float(proposal.architecture == (1, 1))}

    def run(trials):
        return search(
            Planted(),
            partial(DARTS, epochs=2, alpha_lr=0.05),
            score,
            budget=Budget(trials=trials),
            run="planted",
            supernets=GradientSearch(Planted(), Signs(), RECIPE),
            store=SQLiteStore(f"sqlite:///{tmp_path}/nas.db"),
            duplicates="retrain",
        )

    first, whole = run(1).trials, run(3).trials
    assert whole[0] == first[0]
    assert len({trial.curve[0]["supernet_train_loss"] for trial in whole}) == 3
    assert all(trial.cost["search_seconds"] > 0 for trial in whole)


def test_a_strategy_without_what_it_needs_is_refused():
    with pytest.raises(UsageError, match="supernets=GradientSearch"):
        search(Planted(), DARTS, lambda *_: {"valid_accuracy": 0.0}, budget=Budget(trials=1))


def test_from_the_command_line_a_search_is_an_ordinary_trial(nas):
    torch.manual_seed(0)
    done = nas("search", *SMALL_SEARCH, "run=relaxed")
    assert done.returncode == 0, done.stderr
    assert "epoch 3/3" in done.stderr
    (trial,) = rows(nas, "run=relaxed")
    assert trial["status"] == "completed"
    assert trial["metrics"]["valid_accuracy"] > 0
    assert nas("retrain", "run=relaxed", *SMALL_SEARCH[-3:]).returncode == 0
    assert nas("export", "run=relaxed", "format=genotype", "out=winner").returncode == 0
    again = nas("search", *SMALL_SEARCH, "run=relaxed", "format=json")
    assert json.loads(again.stdout)["trials"] == 1


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("supernet.epochs=5", " has no effect; strategy.epochs is the length of a search"),
        ("supernet.drop_path=0.1", ": a supernet does not support it; set it to 0"),
        ("supernet.auxiliary_weight=0.4", ": a supernet does not support it; set it to 0"),
    ],
)
def test_settings_without_effect_on_a_supernet_are_refused(refused, setting, reason):
    refused("search", *SMALL_SEARCH, "run=relaxed", setting, match=f"^nas: {re.escape(setting + reason)}$")


def test_pc_darts_is_validated_on_the_network_that_it_trains(monkeypatch):
    """With weights of edges and the channels that bypass the operations: validation follows training."""
    space = NASBench201()
    method = PCDARTS(space=space, objective=Objective(), epochs=3, warmup=0, partial_channels=2)
    recipe = Recipe(epochs=3, batch_size=32, lr=0.05, nesterov=False, crop=0.0, flip=False, threads=1,
                    train_images=128, valid_images=128, network={"channels": 4, "cells": 1})  # fmt: skip
    seen = []
    real = Weights.measure
    monkeypatch.setattr(Weights, "measure", lambda weights, probs: seen.append(set(probs)) or real(weights, probs))
    result = GradientSearch(space, Digits(), recipe)(method, 0, 5, "cpu", lambda *_: None)
    assert seen[0] == {"cell", "cell_edges"}
    for metrics in result.curve:
        assert metrics["supernet_valid_loss"] < metrics["supernet_train_loss"] + 0.3
    assert len(result.info["probs"]["cell_edges"]) == 6


def test_one_validation_image_is_refused():
    single = Recipe(epochs=1, batch_size=64, lr=0.1, nesterov=False, crop=0.0, flip=False, threads=1, valid_images=1)
    with pytest.raises(UsageError, match=r"supernet.valid_images=1: .* expected 2 or more"):
        GradientSearch(Planted(), Signs(), single)(strategy(), 0, 5, "cpu", lambda *_: None)


def test_a_killed_derivation_does_not_repeat_its_decisions(tmp_path):
    from nas.discretization.perturbation import Perturbation

    def search_in(folder):
        method = strategy(epochs=2, discretization=Perturbation(tune_epochs=1))
        return GradientSearch(Planted(), Signs(), RECIPE, folder)(method, 0, 5, "cpu", lambda *_: None)

    whole = search_in(tmp_path / "whole")
    tunes = []
    real = Weights.step

    def dying(weights, *args):
        tunes.append(1)
        if len(tunes) > 2 * 4 + 4:  # two epochs and the first decision
            raise Killed
        return real(weights, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Weights, "step", dying)
        with pytest.raises(Killed):
            search_in(tmp_path / "parts")
    with pytest.MonkeyPatch.context() as patch:
        again = []
        patch.setattr(Weights, "step", lambda weights, *args: again.append(1) or real(weights, *args))
        result = search_in(tmp_path / "parts")
    assert (result.architecture, result.curve) == (whole.architecture, whole.curve)
    assert len(again) == 4  # only the second decision


def test_a_discretization_knows_of_channels_that_bypass_the_operations(tmp_path):
    """DrNAS has no weights of edges, and its edges hand channels on all the same."""
    from nas.discretization.perturbation import Perturbation
    from nas.store.faults import fault
    from nas.strategies.drnas import DrNAS

    seen = []

    class Seeing(Perturbation):
        def __call__(self, space, probs, trained, rng):
            seen.append({name: rows.tolist() for name, rows in probs.items() if name.endswith("_edges")})
            return super().__call__(space, probs, trained, rng)

    def search_with(parts, folder, epochs=1):
        method = DrNAS(space=Planted(), objective=Objective(), epochs=epochs, discretization=Seeing(tune_epochs=1),
                     partial_channels=parts)  # fmt: skip
        return GradientSearch(Planted(), Signs(), RECIPE, folder)(method, 0, 5, "cpu", lambda *_: None)

    whole, partial = search_with(1, None), search_with(2, tmp_path)
    assert seen == [{}, {"e0_edges": [1.0], "e1_edges": [1.0]}]
    assert "removal_rule" not in whole.info
    assert partial.info["removal_rule"] == 2

    # cellnas 0.1.0 saved no rule
    (path,) = tmp_path.iterdir()
    state = torch.load(path, weights_only=True)
    del state["removal_rule"]
    torch.save(state, path)
    with pytest.raises(UsageError, match=r"removed only a part of each edge .* remove it to start again"):
        search_with(2, tmp_path)
    state["decided"] = []  # it had not started to derive the cell
    torch.save(state, path)
    search_with(2, tmp_path)

    old = trial({key: value for key, value in partial.info.items() if key != "removal_rule"})
    new = trial(partial.info)
    part = {"_target_": "nas.strategies.drnas.DrNAS", "partial_channels": 2}
    perturbed = {"discretization": {"_target_": "nas.discretization.perturbation.Perturbation"}}
    assert "removed only a part of each edge" in fault(old, {"strategy": part, **perturbed})
    assert fault(new, {"strategy": part, **perturbed}) is None
    assert fault(old, {"strategy": part}) is None
    assert fault(old, {"strategy": part | {"partial_channels": 1}, **perturbed}) is None
    described = {"type": "nas.strategies.pc_darts.PCDARTS", "discretization": {"type": "….Perturbation"}}
    assert "removed only a part of each edge" in fault(old, {"strategy": described})


def test_partial_channels_of_a_space_that_does_not_support_them_are_refused():
    class Whole(Planted):
        supports_partial_channels = False

    strategy = PCDARTS(space=Whole(), objective=Objective(), epochs=1, warmup=0)
    with pytest.raises(UsageError, match=r"^strategy\.partial_channels=4: the supernet of Whole does not support part"):
        GradientSearch(Whole(), Signs(), RECIPE)(strategy, 0, 5, "cpu", lambda *_: None)


def trial(info):
    return Trial(0, Proposal((1, 1), info=info), "", "", 0, "completed", {"valid_accuracy": 0.5}, 1.0)
