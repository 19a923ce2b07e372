"""A stored retraining equals its checkpoint: what no checkpoint holds is refused, at best before the training."""

from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from torch import nn

from nas import SearchSpace, UserError
from nas.data.digits import Digits
from nas.export.model import loaded
from nas.store.sqlite import SQLiteStore
from nas.studies.retraining import CHECKPOINT, TrainingJob, retrain
from nas.training import memory_format
from nas.training.fit import evaluate
from nas.training.recipe import Recipe
from nas.training.weight_files import NotStorable, load_weights, packed, save_weights, unpacked

RECIPE = Recipe(epochs=2, batch_size=32, train_images=64, valid_images=40, threads=1, lr=0.05)


class Space(SearchSpace):
    choices = MappingProxyType({"one": ("only",)})

    def __init__(self, make):
        self.make = make

    def build(self, architecture, task, network=None):
        return self.make()


def retrained(make, folder, recipe=RECIPE, report=lambda _metrics: None, **more):
    job = TrainingJob(Space(make), "mine", (0,), Digits(), recipe, device="cpu", **more)
    store = SQLiteStore(f"sqlite:///{folder}/nas.db")
    return retrain(job, store, lambda digits: folder / digits, report)[0]


def scored(make, result):
    """Test accuracy and loss of the network that its checkpoint gives in another process's place."""
    torch.manual_seed(99)
    network = loaded(make(), Path(result.folder) / CHECKPOINT, result.text)
    return dict(zip(("test_accuracy", "test_loss"), evaluate(network, Digits().read_test(), RECIPE), strict=True))


class Running(nn.Module):
    """Divides by a running mean of the absolute values; `how` says where it is stored."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        start = torch.ones(())
        if how == "buffer":
            self.register_buffer("scale", start)
        elif how == "transient":
            self.register_buffer("scale", start, persistent=False)
        elif how == "number":
            self.scale = 1.0
        else:
            self.scale = start

    def forward(self, x):
        if self.training:
            now = x.detach().abs().mean()
            self.scale = 0.5 * self.scale + 0.5 * (now.item() if self.how == "number" else now)
        return x / self.scale


class Extra(Running):
    """The same, with its state in the state_dict by hand."""

    def __init__(self, give=lambda module: {"scale": module.scale, "kind": ("running", 1, [0.5, None, True])}):
        super().__init__("plain")
        self.give = give
        self.taken = None

    def get_extra_state(self):
        return self.give(self)

    def set_extra_state(self, state):
        self.taken = state
        self.scale = state["scale"]


def with_layer(layer):
    return lambda: nn.Sequential(nn.Flatten(), layer(), nn.Linear(64, 10))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(torch.relu(self.first(x.flatten(1)))))


class Frozen(Tied):
    """`train` returns nothing, as is common where a part is frozen."""

    def train(self, mode=True):
        super().train(mode)
        self.first.training = False


@pytest.fixture
def no_training(monkeypatch):
    def never(*args, **more):
        raise AssertionError("it trained")

    monkeypatch.setattr("nas.studies.retraining.train_architecture", never)


@pytest.mark.parametrize("how", ["plain", "number", "transient"])
def test_running_state_outside_of_the_state_dict_is_refused_before_the_training(how, tmp_path, no_training):
    with pytest.raises(UserError, match=r"outside of its state_dict \(1\.scale\), so its checkpoint would compute"):
        retrained(with_layer(lambda: Running(how)), tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    "make",
    [with_layer(lambda: Running("buffer")), with_layer(Extra), Tied, Frozen],
    ids=["buffer", "extra state", "tied weights", "a train that returns nothing"],
)
@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_checkpoint_by_itself_scores_what_is_stored(make, ema, tmp_path):
    recipe = Recipe(**{**vars(RECIPE), "ema": ema})
    result = retrained(make, tmp_path, recipe)
    found = scored(make, result)
    assert {name: result.metrics[name] for name in found} == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("tested", ["last", "best"])
def test_extra_state_of_the_best_epoch_is_that_of_its_epoch(tested, tmp_path):
    result = retrained(with_layer(Extra), tmp_path, validate=True, tested=tested)
    assert result.metrics["test_accuracy"] == scored(with_layer(Extra), result)["test_accuracy"]
    assert len(list(Path(result.folder).glob("*.safetensors"))) == 2


def test_a_killed_retraining_with_extra_state_resumes_to_the_same_network(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.training.checkpoint.MAX_SAVING_SHARE", 1e9)  # save every epoch
    make, recipe = with_layer(Extra), Recipe(**{**vars(RECIPE), "epochs": 4, "ema": 0.5})

    def killed(_metrics, seen=[]):  # noqa: B006
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = retrained(make, tmp_path / "a", recipe)
    with pytest.raises(KeyboardInterrupt):
        retrained(make, tmp_path / "b", recipe, killed)
    assert list((tmp_path / "b").glob("*.partial.pt"))
    again = retrained(make, tmp_path / "b", recipe)
    assert again.metrics == whole.metrics
    states = [load_weights(Path(one.folder) / CHECKPOINT) for one in (whole, again)]
    assert states[0]["1._extra_state"] == states[1]["1._extra_state"]
    assert states[0]["1._extra_state"]["kind"] == ("running", 1, [0.5, None, True])


def test_extra_state_that_no_file_can_hold_is_refused_before_the_training(tmp_path, no_training):
    with pytest.raises(
        UserError, match=r"extra state cannot be stored: 1._extra_state holds a set; get_extra_state may"
    ):
        retrained(with_layer(lambda: Extra(lambda module: {"scale": module.scale, "seen": {1}})), tmp_path)


class Projected(nn.Module):
    """Random features that are drawn once and stored as a plain tensor."""

    def __init__(self):
        super().__init__()
        self.directions = torch.randn(64, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(x.flatten(1) @ self.directions)


TURNS = []


def by_turns():
    """Depends on how often it was called."""
    TURNS.append(1)
    activation = nn.ReLU() if len(TURNS) % 2 else nn.Tanh()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), activation, nn.Linear(64, 10))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        TURNS.append(1)
        return self.layer(x.flatten(1)) + len(TURNS)


def counting():
    return Counting()


def of_random_width():
    WIDTHS.append(1)
    width = 8 + len(WIDTHS)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10))


WIDTHS = []


def sharing(shared=nn.Linear(64, 10)):  # noqa: B008
    return nn.Sequential(nn.Flatten(), shared)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Projected, "computes different logits: directions is not in its state_dict"),
        (
            by_turns,
            "2 is a (ReLU|Tanh) in one network, and 2 a (ReLU|Tanh) in the next; build must create the same modules",
        ),
        (
            counting,
            "both networks have the same state, so build or forward depends on something outside of it",
        ),
        (of_random_width, "cannot load the weights of this one .*size mismatch.*build must create the same modules"),
        (sharing, "returned a network that shares parameters with an earlier one"),
    ],
)
def test_a_build_that_does_not_give_the_same_network_again_is_refused(make, message, tmp_path, no_training):
    with pytest.raises(UserError, match=message):
        retrained(make, tmp_path)


def test_what_shows_only_after_the_training_leaves_nothing(tmp_path):
    """A module that begins to keep state of its own at its hundredth image."""

    class Late(Running):
        def forward(self, x):
            self.images = getattr(self, "images", 0) + len(x) * self.training
            return super().forward(x) if self.images > 100 else x

    with pytest.raises(
        UserError, match=r"nothing was stored, since the checkpoint does not reproduce the network: .* 1\.scale"
    ):
        retrained(with_layer(lambda: Late("plain")), tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert not SQLiteStore(f"sqlite:///{tmp_path}/nas.db").retrainings()


def test_a_network_that_draws_in_evaluation_mode_is_not_another_network(tmp_path):
    class Noisy(nn.Module):
        def forward(self, x):
            return x + 0.1 * torch.randn_like(x)

    assert retrained(with_layer(Noisy), tmp_path).metrics["test_accuracy"] > 0


class _Doubled(torch.autograd.Function):
    """Twice its input, with a backward pass that takes contiguous gradients only."""

    @staticmethod
    def forward(context, x):
        return 2 * x

    @staticmethod
    def backward(context, grad):
        return 2 * grad.view(-1).view_as(grad)


class Viewing(nn.Module):
    """`how`: it views its own convolution's weights, or its own gradients."""

    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.head = how, nn.Conv2d(2, 2, 3), nn.Linear(2, 10)

    def forward(self, x):
        x = torch.cat([x, -x], 1)
        if self.how == "gradients":
            return self.head(_Doubled.apply(self.conv(x)).relu().mean((2, 3)))
        return self.head(nn.functional.conv2d(x, self.conv.weight.view(2, -1).view_as(self.conv.weight)).mean((2, 3)))


@pytest.mark.parametrize("how", ["weights", "gradients"])
def test_a_network_that_runs_in_contiguous_memory_only_is_retrained(how, tmp_path):
    memory_format.warn_once.cache_clear()
    (tmp_path / "plain").mkdir()
    with pytest.warns(UserWarning, match="does not run in channels-last memory format"):
        result = retrained(lambda: Viewing(how), tmp_path)
    recipe = Recipe(**{**vars(RECIPE), "channels_last": False})
    plain = retrained(lambda: Viewing(how), tmp_path / "plain", recipe)
    assert result.metrics == plain.metrics


def test_a_bad_network_is_refused_before_the_training(tmp_path, no_training):
    with pytest.raises(UserError, match=r"cannot be retrained: the network returned a tensor .*, 100.* task.classes"):
        retrained(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 100)), tmp_path)


def test_parameters_without_a_gradient_are_reported(tmp_path):
    class Unused(Tied):
        def forward(self, x):
            return self.head(x.flatten(1))

    with pytest.warns(UserWarning, match=r"no gradient reaches 3 of 5 parameters of the network, .* first.weight"):
        retrained(Unused, tmp_path)


# --- the file ----------------------------------------------------------------------------------------------------


def test_a_state_goes_through_a_file_unchanged(tmp_path):
    nested = {"a": torch.tensor([1.0, 2.0]), "b": [(1, 2.5, "x"), {3: None}], "c": float("inf"), "d": {}, "e": ()}
    state = {"weight": torch.eye(2).T, "m._extra_state": nested, "n._extra_state": torch.tensor(3)}
    save_weights(tmp_path / "w", state, {"arch": "one"})
    found = load_weights(tmp_path / "w")
    assert torch.equal(found["weight"], state["weight"])
    assert torch.equal(found["m._extra_state"].pop("a"), nested.pop("a"))
    assert found["m._extra_state"] == nested
    assert torch.equal(found["n._extra_state"], torch.tensor(3))
    assert set(found) == set(state)


def test_extra_state_of_other_kinds_and_damaged_structures_are_reported():
    with pytest.raises(NotStorable, match="x holds a object"):
        packed({"x": object()})
    with pytest.raises(NotStorable, match="x has a key that is not text or a number"):
        packed({"x": {(1, 2): 3}})
    for structure, message in (
        ('{"x": {"tensor": "gone"}}', "its extra_state is damaged"),
        ('{"x": {"set": [1]}}', "its extra_state is damaged"),
        ("[1]", "its extra_state is damaged"),
        ('{"x": {"list": 1, "dict": 2}}', "too many values"),
        ("{", "Expecting property name"),
    ):
        with pytest.raises(ValueError, match=message):
            unpacked({}, {"extra_state": structure})
