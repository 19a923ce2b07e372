"""Pictures of a folder become a data set: parts by content, locked test images, and the pixels that prediction sees."""

import json
import pickle
import shutil

import numpy as np
import planted
import pytest
import torch
from PIL import Image

from nas import Budget, UsageError, UserError, search
from nas.config.settings import compose
from nas.data import image_folder
from nas.data.image_folder import ImageFolder
from nas.data.lock import TestSetLocked, locked_test_set
from nas.evaluators.training import TrainingEvaluator
from nas.export.folder import Folder
from nas.export.image_reading import read_image
from nas.provenance import config_snapshot, indistinguishable_parts
from nas.store.memory import MemoryStore
from nas.strategies.random import RandomSearch
from nas.testing import check_data
from nas.training.augment import plain_batch
from nas.training.recipe import Recipe

PARTS = ("train", "valid", "test")


def sentence(call):
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def photos(tmp_path):
    return planted.clean(tmp_path / "photos")


@pytest.fixture
def folder(tmp_path):
    """Makes a data set with a cache of its own."""

    def make(root, **more):
        return ImageFolder(str(root), cache=str(tmp_path / "cache"), **more)

    return make


def files(data):
    """Part -> the files of its images, in their order."""
    return {part: [data.listing.pictures[i].file for i in data.parts[part]] for part in PARTS}


def test_it_keeps_the_promises_of_a_data_set(folder, photos):
    check_data(lambda: folder(photos))
    data = folder(photos)
    assert (data.task.channels, data.task.height, data.task.width, data.task.classes) == (3, 32, 32, 3)
    assert data.class_names == planted.CLASSES


def test_positions_of_the_parts_are_those_of_the_images(folder, photos):
    data = folder(photos)
    split, test = data.split(), data.read_test()
    for part, images in zip(PARTS, (split.train, split.valid, test), strict=True):
        positions = data.parts[part]
        assert np.array_equal(data.cache.pixels[positions], images.pixels.numpy())
        assert [data.listing.pictures[i].label for i in positions] == images.labels.tolist()
    assert sorted(np.concatenate(list(data.parts.values()))) == list(range(60))
    assert [len(data.parts[part]) for part in PARTS] == [39, 9, 12]
    assert torch.bincount(split.valid.first(6).labels).tolist() == [2, 2, 2]


def test_the_split_is_that_of_the_content_and_not_of_names_or_formats(folder, photos, tmp_path):
    expected = folder(photos).split()
    other = tmp_path / "other"
    for path in photos.rglob("*.png"):
        target = other / path.parent.name / "more" / f"{path.stat().st_size} {path.stem[::-1]} ü.BMP"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(target)
    assert folder(other).split().hash == expected.hash
    rows = "".join(f"photos/{path.parent.name}/{path.name},{path.parent.name}\n" for path in photos.rglob("*.png"))
    (tmp_path / "labels.csv").write_text("file,label\n" + rows)
    assert folder(tmp_path).split().hash == expected.hash
    assert folder(photos, split_seed=1).split().hash != expected.hash


def test_mean_and_std_are_those_of_the_training_pixels(folder, photos):
    split = folder(photos).split()
    pixels = split.train.pixels.double() / 255
    assert torch.allclose(pixels.mean((0, 2, 3)), torch.tensor(split.train.mean, dtype=torch.double))
    assert torch.allclose(pixels.std((0, 2, 3), correction=0), torch.tensor(split.train.std, dtype=torch.double))
    assert split.train.mirror
    assert not folder(photos, mirror=False).split().train.mirror


def test_a_blank_channel_can_be_normalised(folder, tmp_path):
    for name, shade in (("a", 10), ("b", 200)):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("RGB", (8, 8), (shade + number, 0, 7)).save(tmp_path / name / f"{number}.png")
    assert folder(tmp_path).split().train.std[1:] == (1 / 255, 1 / 255)


def test_duplicates_and_groups_stay_in_one_part(folder, photos):
    shutil.copy(photos / "circle" / "000.png", photos / "square" / "copy.png")
    Image.open(photos / "cross" / "001.png").save(photos / "cross" / "again.jpg", quality=80)
    listed = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.*"))]
    rows = [f"{file},{file.split('/')[0]},{'p1' if file.endswith('7.png') else ''}" for file in listed]
    (photos / "labels.csv").write_text("\n".join(["file,label,patient", *rows]))
    for seed in range(8):
        part_of = {
            file: part
            for part, names in files(folder(photos, split_seed=seed, group="patient")).items()
            for file in names
        }
        for together in (
            ("circle/000.png", "square/copy.png"),
            ("cross/001.png", "cross/again.jpg"),
            [file for file in part_of if file.endswith("7.png")],
        ):
            assert len({part_of[file] for file in together}) == 1
        assert len(part_of) == 62


def test_pictures_of_a_fixed_camera_can_be_divided(folder, tmp_path):
    rng = np.random.default_rng(0)
    scene = planted.drawn(2, rng, 64, 64).astype(int)
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            pixels = scene + rng.integers(-2, 3, scene.shape)
            pixels[number : number + 4, : 3 if name == "a" else 6] += 9
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "photos" / name / f"{number}.png")
    data = folder(tmp_path / "photos")
    with pytest.warns(
        UserWarning, match="60 pictures of .* are so alike that they cannot stay in one part; if they are"
    ):
        assert [len(data.parts[part]) for part in PARTS] == [38, 10, 12]


def test_stated_parts_are_kept_and_the_others_split_off(folder, tmp_path):
    root = tmp_path / "photos"
    planted.clean(root / "train")
    planted.clean(root / "test", each=5, seed=1)
    parts = files(folder(root))
    assert [len(parts[part]) for part in PARTS] == [48, 12, 15]
    assert {name.split("/")[0] for name in parts["test"]} == {"test"}
    planted.clean(root / "val", each=4, seed=2)
    parts = files(folder(root))
    assert [len(parts[part]) for part in PARTS] == [60, 12, 15]
    assert {name.split("/")[0] for name in parts["valid"]} == {"val"}


def test_test_images_are_locked_while_a_search_runs(folder, photos):
    data = folder(photos)
    with locked_test_set(), pytest.raises(TestSetLocked, match="the test images of image_folder are locked"):
        data.read_test()


def test_prediction_sees_the_pixels_that_training_saw(folder, tmp_path):
    root = planted.mixed_modes(tmp_path / "photos").root
    planted.turned_by_exif(tmp_path / "turned")
    shutil.copytree(tmp_path / "turned", root, dirs_exist_ok=True)
    for settings in ({}, {"channels": 1, "side": 20}):
        data = folder(root, **settings)
        split, task = data.split(), data.task
        about = {
            "task": {"channels": task.channels, "height": task.height, "width": task.width, "classes": task.classes},
            "preprocessing": {"mean": list(split.train.mean), "std": list(split.train.std)},
        }
        seen = plain_batch(split.train, 0, len(split.train))
        for name, expected in zip(files(data)["train"], seen, strict=True):
            assert torch.equal(read_image(Folder(root, about), root / name), expected), name


def test_unreadable_pictures_are_left_out_with_one_warning(folder, tmp_path, recwarn):
    root = planted.unreadable(tmp_path / "photos").root
    data = folder(root)
    data.split()
    data.read_test()
    assert [str(one.message) for one in recwarn] == [
        f"2 pictures of data.root={root} cannot be read and were left out, the first: cross/003.png cannot be read "
        f"(image file is truncated); nas inspect data.root={root} names all of them"
    ]
    assert sum(map(len, data.parts.values())) == 58


def test_it_is_sent_to_another_process_without_its_pictures(folder, photos):
    data = folder(photos)
    expected = data.split()
    sent = pickle.dumps(data)
    assert len(sent) < 2_000
    assert pickle.loads(sent).split().hash == expected.hash
    Image.new("RGB", (32, 32)).save(photos / "circle" / "000.png")
    text = sentence(pickle.loads(sent).split)
    assert "returned different images than before; " in text
    assert text.endswith("the files of data.root have changed meanwhile; run the command again when they no longer do")
    assert data.split().hash == expected.hash  # of the cache that was made at the start


def test_its_settings_are_recorded_without_its_pictures(folder, photos, tmp_path):
    data = folder(photos)
    assert data.split()
    snapshot = config_snapshot(data)
    assert len(json.dumps(snapshot)) < 500
    assert (snapshot["cache"], snapshot["side"]) == (str(tmp_path / "cache"), None)
    assert indistinguishable_parts(data) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side": 0}, "data.side must be a whole number of at least 1 and at most 1024, got 0"),
        ({"side": 5000}, "data.side must be a whole number of at least 1 and at most 1024, got 5000"),
        ({"channels": 2}, "data.channels must be 1, 3 or null, got 2"),
        ({"channels": True}, "data.channels must be 1, 3 or null, got True"),
        ({"test_fraction": 0}, "data.test_fraction must be a number above 0 and at most 0.95, got 0"),
        ({"mirror": "yes"}, "data.mirror must be true or false, got 'yes'"),
        ({"background": "whitish"}, "data.background=whitish is not a colour; expected a name such as white or black"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(settings, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        ImageFolder("photos", **settings)


def test_a_folder_that_is_not_named_is_asked_for():
    assert sentence(ImageFolder().split).startswith("data.root=null; expected the folder of your pictures")
    data = compose("search", ["data=image_folder", "data.root=a,b {c}", "data.labels=[1].csv"]).make("data")
    assert (data.root, data.labels) == ("a,b {c}", "[1].csv")
    with pytest.raises(UserError, match=r"data.root=a,b \{c\} does not exist"):
        data.task  # noqa: B018


def test_a_class_with_too_few_pictures_is_named(folder, tmp_path):
    planted.clean(tmp_path / "few", each=(9, 2, 9))
    assert "class 'cross' has 2 readable pictures; expected at least 3, so that one can be held out" in sentence(
        folder(tmp_path / "few").split
    )
    planted.clean(tmp_path / "same", each=(9, 1, 9))
    for number in range(5):
        shutil.copy(tmp_path / "same" / "cross" / "000.png", tmp_path / "same" / "cross" / f"copy{number}.png")
    text = sentence(folder(tmp_path / "same").split)
    assert "class 'cross' has 6 pictures, and no more than 1 of them can be separated" in text
    planted.clean(tmp_path / "parts" / "train", each=(9, 1, 9))
    planted.clean(tmp_path / "parts" / "test", each=1, seed=1)
    assert "class 'cross' has 1 readable picture in train; expected at least 2, so that" in sentence(
        folder(tmp_path / "parts").split
    )
    (tmp_path / "parts" / "test" / "cross" / "000.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 picture of"):
        text = sentence(folder(tmp_path / "parts").split)
    assert "class 'cross' has 1 readable picture in train" in text


def test_pictures_that_do_not_fit_in_memory_are_refused_with_a_side_that_does(folder, photos, monkeypatch):
    monkeypatch.setattr(image_folder, "available_memory", lambda: 100_000)
    text = sentence(folder(photos).split)
    assert "96 pictures of 32 x 32 pixels need 0.0 GiB of memory, but only 0.0 GiB is free; set data.side=16" in text


def test_a_run_is_not_continued_on_pictures_that_have_changed(folder, photos, toy_space):
    store = MemoryStore()

    def searched(trials):
        evaluator = TrainingEvaluator(toy_space, folder(photos, side=8), Recipe(epochs=1, batch_size=16))
        return search(toy_space, RandomSearch, evaluator, budget=Budget(trials=trials), store=store, device="cpu")

    searched(1)
    (photos / "cross" / "000.png").touch()  # another time, and the same pixels
    searched(1)
    Image.new("RGB", (32, 32)).save(photos / "cross" / "000.png")
    text = sentence(lambda: searched(2))
    assert text.startswith("run 'search' was started with protocol.split=")
    assert ": the images have changed, or read_train does not always return the same. Choose another run=" in text
