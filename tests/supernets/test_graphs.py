"""What is recorded of a step and when; recording itself needs CUDA, so here a stand-in records the function."""

import warnings
from dataclasses import replace

import pytest
import torch
from relaxed import Planted, Signs

from nas.core import Objective
from nas.data.digits import Digits
from nas.strategies.darts import DARTS
from nas.strategies.pc_darts import PCDARTS
from nas.supernets.gradient import GradientSearch
from nas.supernets.graphs import GraphStep
from nas.supernets.recipe import SupernetRecipe
from search_spaces.nasbench201 import NASBench201


class Recorder:
    """Runs a recorded step again, as a graph would: with what lies in the memory that it was recorded on."""

    def __init__(self):
        self.recorded = self.repeated = 0

    def __call__(self, step):
        self.recorded += 1

        def run():
            self.repeated += 1
            return step()

        return run


def batch(value, size=4):
    return torch.full((size, 1), float(value)), torch.zeros(size)


def summed(train, valid):
    return train[0].sum() + 10 * valid[0].sum()


def test_whole_batches_run_as_a_graph_after_two_ordinary_steps_of_each_epoch():
    recorder = Recorder()
    step = GraphStep(summed, 4, recorder)
    for _ in range(2):
        step.start_epoch()
        assert [step(batch(n), batch(1)).item() for n in range(5)] == [4 * n + 40 for n in range(5)]
    assert (recorder.recorded, recorder.repeated) == (2, 6)


def test_a_batch_of_another_size_is_done_in_the_ordinary_way():
    recorder = Recorder()
    step = GraphStep(summed, 4, recorder)
    for _ in range(4):
        step(batch(1), batch(1))
    assert step(batch(1, size=3), batch(1)).item() == 43
    assert step(batch(1), batch(1, size=2)).item() == 24
    assert step(batch(2), batch(1)).item() == 48
    assert recorder.repeated == 3


def test_what_cannot_be_recorded_is_told_once_and_done_in_the_ordinary_way():
    def refuses(_step):
        raise RuntimeError("operation not permitted when stream is capturing")

    step = GraphStep(summed, 4, refuses)
    with pytest.warns(UserWarning, match="does not run as a CUDA graph"):
        losses = [step(batch(n), batch(0)).item() for n in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step.start_epoch()
        losses += [step(batch(n), batch(0)).item() for n in range(4)]
    assert losses == [0, 4, 8, 12] * 2


@pytest.mark.parametrize("make", [DARTS, lambda **parts: DARTS(**parts, order="second"), PCDARTS])
def test_a_search_with_graphs_is_the_search(make, monkeypatch):
    """Only its inputs change between the steps of an epoch, so running a recorded step again is the next step."""
    recipe = SupernetRecipe(epochs=1, batch_size=48, lr=0.1, nesterov=False, crop=0.0, flip=False, threads=1)

    def searched(graphs):
        recorder = Recorder()
        if graphs:
            monkeypatch.setattr("nas.supernets.gradient.uses_graphs", lambda *_: True)
            monkeypatch.setattr("nas.supernets.gradient.GraphStep", lambda step, size: GraphStep(step, size, recorder))
        options = {"partial_channels": 1, "warmup": 2} if make is PCDARTS else {}
        strategy = make(space=Planted(), objective=Objective(), **options)
        strategy.epochs = 4
        result = GradientSearch(Planted(), Signs(), recipe)(strategy, 0, 5, "cpu", lambda *_: None)
        return result, recorder

    plain, _ = searched(graphs=False)
    result, recorder = searched(graphs=True)
    assert recorder.recorded == 4
    assert result.curve == plain.curve
    assert result.info == plain.info


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("order", ["first", "second"])
def test_on_cuda_a_recorded_search_is_the_ordinary_one(order):
    losses = []
    for graphs in (False, True):
        recipe = SupernetRecipe(epochs=1, batch_size=16, train_images=128, valid_images=128, graphs=graphs)
        recipe = replace(recipe, network={"channels": 4, "cells": 1}, nesterov=False, lr=0.025, flip=False)
        space = NASBench201()
        strategy = DARTS(space=space, objective=Objective(), epochs=2, order=order)
        result = GradientSearch(space, Digits(), recipe)(strategy, 0, 5, "cuda", lambda *_: None)
        losses.append([metrics["supernet_train_loss"] for metrics in result.curve])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
