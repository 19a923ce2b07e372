"""torchvision's classification models are exported with equal outputs; with `-m slow` all of them."""

import pytest
import torch
from written import exported, same, same_as_source

from nas import UserError

torchvision = pytest.importorskip("torchvision")
models = torchvision.models
SIZES = {"alexnet": 64, "inception_v3": 80, "maxvit_t": 224}
ARGUMENTS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
TOO_LARGE_FOR_ONNX = {"regnet_y_128gf", "vit_h_14"}


def built(name):
    """An untrained model, and the shape of the smallest images that it takes."""
    torch.manual_seed(0)
    if name.startswith("vit"):
        size = 28 if name.endswith("14") else 32
        return models.get_model(name, image_size=size).eval(), (3, size, size)
    size = SIZES.get(name, 32)
    return models.get_model(name, **ARGUMENTS.get(name, {})).eval(), (3, size, size)


def small(name):
    torch.manual_seed(0)
    if name == "vision_transformer":
        return models.VisionTransformer(16, 8, 1, 2, 8, 12, num_classes=5)
    if name == "swin":
        return models.SwinTransformer([2, 2], 8, [2, 2], [2, 2], [4, 4], num_classes=5)
    if name == "resnet":
        return models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=5, width_per_group=8)
    return models.get_model(name, num_classes=5)


@pytest.mark.parametrize("name", ["vision_transformer", "swin", "resnet", "mobilenet_v3_small", "squeezenet1_1"])
def test_a_model_is_written_as_python(name):
    same_as_source(small(name).eval(), (3, 16, 16) if name == "vision_transformer" else (3, 32, 32))


def same_as_exported(network, shape, form, folder):
    batches = [torch.randn(number, *shape) for number in (1, 2, 16)]
    with torch.no_grad():
        expected = [network(images) for images in batches]
    for logits, wanted in zip(exported(network, form, batches, folder), expected, strict=True):
        same(logits, wanted, 1e-3)


@pytest.mark.parametrize(("name", "form"), [("vision_transformer", "onnx"), ("resnet", "torch_export")])
def test_a_model_is_exported_in_the_other_forms(name, form, tmp_path):
    shape = (3, 16, 16) if name == "vision_transformer" else (3, 32, 32)
    same_as_exported(small(name).eval(), shape, form, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_model_is_written_as_python(name):
    same_as_source(*built(name), quickly=True)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch_export"])
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_model_is_exported_in_the_other_forms(name, form, tmp_path):
    network, shape = built(name)
    if form == "onnx" and name in TOO_LARGE_FOR_ONNX:
        with pytest.raises(UserError, match=r"^the weights take 2.4 GiB, and one ONNX file holds less than 2 GiB$"):
            exported(network, form, [torch.randn(1, *shape)], tmp_path)
        return
    same_as_exported(network, shape, form, tmp_path)
