"""`nas predict` on the files that people have: photographs, drawings, archives, and names of all kinds."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas import UserError
from nas.config.overrides import list_items
from nas.errors import UsageError
from nas.export import prediction as nas_prediction
from nas.export.folder import Folder
from nas.export.image_files import find_images, skipped_text
from nas.export.image_reading import read_image
from nas.pictures.decoding import parse_colour

FIGURE = np.array([[10, 20, 30, 40], [50, 60, 70, 80], [90, 100, 110, 120], [130, 140, 150, 255]], dtype=np.uint8)
"""Pixels without any symmetry."""


def folder(path, channels=1, size=4):
    """A model whose normalisation leaves pixel values of 0 to 1 as they are."""
    about = {
        "cellnas_model": 1,
        "arch": "the mean",
        "space": {"name": "none", "settings": {}},
        "network": {},
        "formats": {},
        "task": {"channels": channels, "height": size, "width": size, "classes": 2},
        "classes": ["dark", "light"],
        "preprocessing": {"mean": [0.0] * channels, "std": [1.0] * channels},
    }
    path.mkdir(exist_ok=True)
    (path / "model.json").write_text(json.dumps(about))
    return Folder(path, about)


def values(model, path, **more):
    """Pixels from 0 to 255, (H, W) of one channel or (C, H, W)."""
    result = (read_image(model, path, **more) * 255).round().to(torch.uint8).numpy()
    return result[0] if len(result) == 1 else result


# How a picture is stored so that each EXIF orientation shows FIGURE (TIFF 6.0: which corner the first pixel is)
STORED_FIGURES = {
    1: FIGURE,
    2: FIGURE[:, ::-1],
    3: FIGURE[::-1, ::-1],
    4: FIGURE[::-1],
    5: FIGURE.T,
    6: np.rot90(FIGURE),
    7: FIGURE[::-1, ::-1].T,
    8: np.rot90(FIGURE, -1),
}


@pytest.mark.parametrize("orientation", STORED_FIGURES)
@pytest.mark.parametrize(
    ("suffix", "options"), [("png", {}), ("webp", {"lossless": True}), ("tiff", {}), ("jpg", {"quality": 100})]
)
def test_an_image_is_read_in_its_exif_orientation(tmp_path, suffix, options, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(STORED_FIGURES[orientation])).save(path, exif=exif.tobytes(), **options)
    result = values(folder(tmp_path / "model"), path)
    assert np.abs(result.astype(int) - FIGURE).max() <= (2 if suffix in ("jpg", "webp") else 0)


def test_an_image_is_rotated_before_it_is_resized(tmp_path):
    """8 x 4 pixels, stored on the side; they equal those of an upright file of the same picture."""
    wide = np.repeat(FIGURE, 2, 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(wide).copy()).save(tmp_path / "lying.png", exif=exif.tobytes())
    Image.fromarray(wide).save(tmp_path / "upright.png")
    model = folder(tmp_path / "model")
    assert np.array_equal(values(model, tmp_path / "lying.png"), values(model, tmp_path / "upright.png"))


def test_an_image_of_an_integer_multiple_of_the_size_is_averaged(tmp_path):
    """As `data.pool` makes small images of large ones."""
    Image.fromarray(FIGURE.repeat(3, 0).repeat(3, 1)).save(tmp_path / "large.png")
    assert np.array_equal(values(folder(tmp_path / "model"), tmp_path / "large.png"), FIGURE)


def test_an_image_with_damaged_metadata_is_read(tmp_path):
    Image.fromarray(FIGURE).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(values(folder(tmp_path / "model"), tmp_path / "a.png"), FIGURE)


def drawn_in_alpha(mode):
    """A black square with its figure only in alpha: opaque above, transparent below."""
    alpha = Image.fromarray(np.repeat([[255], [255], [0], [0]], 4, 1).astype(np.uint8))
    black = Image.new("L", (4, 4), 0)
    return Image.merge(mode, (*[black] * (len(mode) - 1), alpha))


def saved(image, path, **options):
    image.save(path, **options)
    return path


TRANSPARENT_IMAGES = {
    "rgba.png": lambda path: saved(drawn_in_alpha("RGBA"), path),
    "la.png": lambda path: saved(drawn_in_alpha("LA"), path),
    "rgba.webp": lambda path: saved(drawn_in_alpha("RGBA"), path, lossless=True),
    "rgba.tiff": lambda path: saved(drawn_in_alpha("RGBA"), path),
    "palette.png": lambda path: saved(palette(), path, transparency=1),
    "palette of alphas.png": lambda path: saved(palette(), path, transparency=bytes([255, 0])),
    "palette.gif": lambda path: saved(palette(), path, transparency=1),
    "grey with a key.png": lambda path: saved(Image.fromarray(KEY), path, transparency=7),
    "rgb with a key.png": lambda path: saved(Image.fromarray(KEY).convert("RGB"), path, transparency=(7, 7, 7)),
    "16 bits with a key.png": lambda path: saved(Image.fromarray(KEY.astype(np.uint16)), path, transparency=7),
}
KEY = np.repeat([[0], [0], [7], [7]], 4, 1).astype(np.uint8)


def palette():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 90, 90, 90])
    image.paste(1, (0, 2, 4, 4))
    return image


@pytest.mark.parametrize("name", TRANSPARENT_IMAGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_show_the_background(tmp_path, name, channels):
    path = TRANSPARENT_IMAGES[name](tmp_path / name)
    model = folder(tmp_path / "model", channels)
    for background, below in (("white", 255), ("black", 0), ("#646464", 100)):
        result = values(model, path, background=parse_colour(background))
        assert result[..., :2, :].tolist() == np.zeros_like(result[..., :2, :]).tolist()
        assert set(result[..., 2:, :].ravel().tolist()) == {below}
    if channels == 3:
        assert values(model, path, background=parse_colour("#ff8000"))[:, 3, 0].tolist() == [255, 128, 0]


def test_half_transparent_pixels_are_blended_and_opaque_ones_unchanged(tmp_path):
    opaque = Image.merge("LA", (Image.fromarray(FIGURE), Image.new("L", (4, 4), 255)))
    model = folder(tmp_path / "model")
    assert np.array_equal(values(model, saved(opaque, tmp_path / "opaque.png")), FIGURE)
    half = Image.new("LA", (4, 4), (0, 128))
    assert set(values(model, saved(half, tmp_path / "half.png")).ravel().tolist()) == {127}


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("cmyk.jpg", Image.fromarray(FIGURE).convert("CMYK")),
        ("cmyk.tiff", Image.fromarray(FIGURE).convert("CMYK")),
        ("16.png", Image.fromarray(FIGURE.astype(np.uint16) * 257)),
        ("16.tiff", Image.fromarray(FIGURE.astype(np.uint16) * 257)),
        ("16.pgm", Image.fromarray(FIGURE.astype(np.uint16) * 257)),
        ("one.bmp", Image.fromarray(FIGURE)),
    ],
)
def test_cmyk_and_16_bit_files_are_read(tmp_path, name, image):
    options = {"quality": 100} if name.endswith("jpg") else {}
    result = values(folder(tmp_path / "model"), saved(image, tmp_path / name, **options))
    assert np.abs(result.astype(int) - FIGURE).max() <= (2 if name == "cmyk.jpg" else 0)


def test_black_and_white_is_0_and_255(tmp_path):
    Image.fromarray(FIGURE > 99).save(tmp_path / "bits.png")
    assert np.array_equal(values(folder(tmp_path / "model"), tmp_path / "bits.png"), (FIGURE > 99) * 255)


def test_hidden_files_and_those_of_archives_are_ignored(tmp_path):
    names = ("b.png", "._b.png", "c/a.JPG", "c/.trash/x.png", "__MACOSX/b.png", "Thumbs.db", "a.txt", "@eaDir/b.png")
    for name in names:
        path = tmp_path / ".photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / ".photos" / "gone.png").symlink_to("nowhere")
    result = [str(path.relative_to(tmp_path / ".photos")) for path in find_images(tmp_path / ".photos").images]
    assert result == ["b.png", "c/a.JPG"]  # a folder given by the user is read although it is hidden


def test_files_beside_the_images_are_counted(tmp_path):
    photos = tmp_path / "photos"
    for name in ("a.jfif", "b.AVIF", "c.jp2", "d.ico", "notes.txt", "x/list.json", "x/README", "e.pdf", "f.eps", "g.h5",
                 ".hidden.txt", "__MACOSX/z.txt"):  # fmt: skip
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"x")
    (photos / "linked").symlink_to(tmp_path)
    (photos / "gone.png").symlink_to("nowhere")
    (photos / "loop.png").symlink_to("loop.png")
    os.mkfifo(photos / "pipe.png")
    result = find_images(photos)
    assert [path.name for path in result.images] == ["a.jfif", "b.AVIF", "c.jp2", "d.ico"]
    assert skipped_text([result]) == (
        "skipped: 6 files without an image suffix (.eps, .h5, .json, .pdf, .txt, no suffix), "
        "1 linked folder, 2 dead links, 1 pipe or device"
    )
    with pytest.raises(UsageError) as error:
        find_images(photos / "x")
    assert str(error.value) == (
        f"images={photos}/x has no image that can be read (skipped: 2 files without an image suffix (.json, no suffix))"
    )
    for name, reason in (
        ("pipe.png", " is a pipe; expected an image"),
        ("loop.png", " is a link that leads back to itself; expected an image"),
        ("gone.png", " is a link to nowhere, which does not exist"),
        ("a.jfif/b.png", " does not exist; expected an image"),
    ):
        with pytest.raises(UsageError, match=f"{name}{reason}"):
            find_images(photos / name)
    with pytest.raises(UsageError, match="images=/dev/null is a device"):
        find_images(Path("/dev/null"))


@pytest.fixture
def predicting(nas, tmp_path, monkeypatch):
    """`nas predict` with a model of the mean brightness; a white and a black image."""
    folder(tmp_path / "model")

    def brightness(*_):
        return lambda images: torch.stack((1 - images.mean((1, 2, 3)), images.mean((1, 2, 3))), 1) * 4

    monkeypatch.setattr(nas_prediction, "logits_function", brightness)
    Image.new("L", (4, 4), 255).save(tmp_path / "light.png")
    Image.new("L", (4, 4), 0).save(tmp_path / "dark.png")
    return lambda *more: nas("predict", "model=model", *more)


def test_skipped_files_are_reported_and_are_not_an_error(predicting, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    done = predicting("images=.", "format=csv")
    assert len(done.stdout.splitlines()) == 3
    assert done.returncode == 0
    assert done.stderr == "nas: skipped: 2 files without an image suffix (.json, .txt)\n"


@pytest.fixture
def thresholded(predicting, tmp_path):
    """`nas predict` with a model that has a threshold of 0.9, and an image between black and white."""
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    threshold = {"value": 0.9, "kept": 0.96, "accuracy": 0.99, "images": 100}
    (tmp_path / "model" / "model.json").write_text(json.dumps(about | {"threshold": threshold}))
    Image.new("L", (4, 4), 150).save(tmp_path / "middle.png")
    return predicting


def test_an_image_below_the_threshold_is_none_of_the_classes(thresholded):
    printed = thresholded("images=[light.png,middle.png]", "format=csv").stdout
    assert [row["label"] for row in csv.DictReader(io.StringIO(printed))] == ["light", "none of these"]
    light, middle = json.loads(thresholded("images=[light.png,middle.png]", "format=json").stdout)
    assert (light["label"], light["likeliest"]) == ("light", "light")
    assert (middle["label"], middle["likeliest"]) == ("none of these", "light")
    assert middle["probabilities"]["light"] == pytest.approx(0.6695, abs=1e-3)
    title, meaning, head, _, *lines = thresholded("images=[light.png,middle.png]").stdout.splitlines()
    assert title == "the mean"
    assert meaning == "none of these: the likeliest class, in brackets, has a probability below 0.9"
    assert lines[0].split() == ["light.png", "light", "0.9820", "dark", "0.0180"]
    assert lines[1].split("  ")[:2] == ["middle.png", "none of these (light)"]
    assert lines[0].index("0.9820") == lines[1].index("0.6695") == head.index("probability") + 5


@pytest.mark.parametrize(("threshold", "label"), [("0", "light"), ("0.6", "light"), ("0.7", "none of these")])
def test_another_threshold_overrides_that_of_the_model(thresholded, threshold, label):
    (one,) = json.loads(thresholded("images=middle.png", "format=json", f"threshold={threshold}").stdout)
    assert one["label"] == label
    assert ("likeliest" in one) is (threshold != "0")


def test_a_model_without_a_threshold_gives_every_image_a_class(predicting, tmp_path):
    Image.new("L", (4, 4), 128).save(tmp_path / "middle.png")
    (one,) = json.loads(predicting("images=middle.png", "format=json").stdout)
    assert list(one) == ["file", "label", "probabilities"]
    assert one["label"] == "light"
    assert len(predicting("images=middle.png").stdout.splitlines()) == 4
    (one,) = json.loads(predicting("images=middle.png", "format=json", "threshold=1").stdout)
    assert one["label"] == "none of these"


@pytest.mark.parametrize("threshold", ["-0.1", "1.5", "nan", "half"])
def test_a_threshold_that_is_not_a_probability_is_refused(predicting, threshold):
    done = predicting("images=dark.png", f"threshold={threshold}")
    assert done.returncode == 2
    assert not done.stdout
    assert "threshold" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("threshold", [{"value": 1.5}, {"value": "0.5"}, {"value": True}, {}, 0.5])
def test_a_damaged_threshold_of_a_model_is_reported(predicting, tmp_path, threshold):
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    (tmp_path / "model" / "model.json").write_text(json.dumps(about | {"threshold": threshold or {"kept": 1}}))
    done = predicting("images=dark.png")
    assert done.returncode == 2
    assert done.stderr.startswith("nas: model=model: model.json is damaged (")


def damaged(tmp_path):
    """Files that cannot be read, in a folder with two that can."""
    directory = tmp_path / "pictures"
    directory.mkdir()
    Image.new("L", (4, 4), 255).save(directory / "a.png")
    Image.new("L", (4, 4), 0).save(directory / "z.png")
    (directory / "empty.png").write_bytes(b"")
    (directory / "text.jpg").write_text("no image")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(directory / "whole.png")
    (directory / "cut.png").write_bytes((directory / "whole.png").read_bytes()[:2000])
    (directory / "whole.png").unlink()
    Image.fromarray(FIGURE.astype(np.float32)).save(directory / "float.tiff")
    Image.new("1", (100, 100)).save(directory / "huge.png")
    return ["cut.png", "empty.png", "float.tiff", "huge.png", "text.jpg"]


@pytest.mark.parametrize("style", ["table", "csv", "json"])
def test_unreadable_files_are_listed_at_the_end_and_the_others_labelled(predicting, tmp_path, monkeypatch, style):
    bad = damaged(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_500)  # Pillow's own limit takes seconds to exceed
    done = predicting("images=pictures", f"format={style}")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.partition(" cannot be read (")[0] for line in lines] == [f"nas: pictures/{name}" for name in bad]
    assert [line.partition("(")[2] for line in lines][1:] == [
        "it is empty)",
        "it has pixels of mode F, expected 8 or 16 bits per channel)",
        "it has more than 9,000 pixels)",
        "not an image)",
    ]
    if style == "json":
        result = [(one["file"], one["label"]) for one in json.loads(done.stdout)]
    elif style == "csv":
        result = [(row["file"], row["label"]) for row in csv.DictReader(io.StringIO(done.stdout))]
    else:
        result = [tuple(line.split()[:2]) for line in done.stdout.splitlines()[3:]]
    assert result == [("pictures/a.png", "light"), ("pictures/z.png", "dark")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_listed(predicting, tmp_path):
    (tmp_path / "dark.png").chmod(0)
    assert "nas: dark.png cannot be read (Permission denied)" in predicting("images=[dark.png,light.png]").stderr


@pytest.mark.parametrize(("style", "nothing"), [("csv", "file,label,dark,light\n"), ("json", "[]\n")])
def test_without_a_readable_file_the_output_is_empty_and_valid(predicting, tmp_path, style, nothing):
    (tmp_path / "empty.png").write_bytes(b"")
    done = predicting("images=empty.png", f"format={style}")
    assert done.stdout == nothing
    assert done.returncode == 1


def test_labels_are_printed_before_the_next_batch_is_read(predicting, monkeypatch, capsys):
    monkeypatch.setattr(nas_prediction, "BATCH_SIZE", 1)
    seen = []
    reading = nas_prediction.read_image

    def watched(model, path, background):
        seen.append(capsys.readouterr().out)
        return reading(model, path, background)

    monkeypatch.setattr(nas_prediction, "read_image", watched)
    last = predicting("images=[light.png,dark.png,light.png]", "format=csv").stdout
    head, light, dark = (
        "file,label,dark,light\n",
        "light.png,light,0.0179862,0.982014\n",
        "dark.png,dark,0.982014,0.0179862\n",
    )
    assert seen == ["", head + light, dark]
    assert last == light


def test_an_interruption_leaves_a_valid_document(predicting, monkeypatch):
    monkeypatch.setattr(nas_prediction, "BATCH_SIZE", 1)
    reading = nas_prediction.read_image

    def interrupted(model, path, background):
        if path.name == "dark.png":
            raise KeyboardInterrupt
        return reading(model, path, background)

    monkeypatch.setattr(nas_prediction, "read_image", interrupted)
    done = predicting("images=[light.png,dark.png]", "format=json")
    assert [one["file"] for one in json.loads(done.stdout)] == ["light.png"]
    assert done.returncode == 130


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ('["a,b.png"]', ["a,b.png"]),
        ("[a,b.png]", ["a,b.png"]),  # what a shell leaves of the line above
        ("a,b.png", ["a,b.png"]),
        ('"a,b.png"', ["a,b.png"]),
        ("[light.png,a,b.png,dark.png]", ["light.png", "a,b.png", "dark.png"]),
        ("['Doe, J.png',light.png]", ["Doe, J.png", "light.png"]),
        ("[Doe, J.png, light.png]", ["Doe, J.png", "light.png"]),
        ("it's.png", ["it's.png"]),
        ("[it's.png,light.png]", ["it's.png", "light.png"]),
        ("[1].png", ["[1].png"]),
        ("[[1].png,light.png]", ["[1].png", "light.png"]),
        ("(1.png", ["(1.png"]),
        ("[(1.png,light.png]", ["(1.png", "light.png"]),
        ("x=1.png", ["x=1.png"]),
        ("[x=1.png, y 2.png]", ["x=1.png", "y 2.png"]),
        ("${HOME}.png", ["${HOME}.png"]),
        ("[${HOME}.png]", ["${HOME}.png"]),
        ("{1}.png", ["{1}.png"]),
        ("[2024]", ["[2024]/inside.png"]),
    ],
)
def test_files_with_commas_brackets_quotes_and_signs_in_their_names_are_found(predicting, tmp_path, given, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), 0).save(tmp_path / name)
    done = predicting(f"images={given}", "format=json")
    assert not done.stderr
    assert done.returncode == 0
    assert [one["file"] for one in json.loads(done.stdout)] == names


def test_a_name_of_two_lines_is_one_row(predicting, tmp_path):
    Image.new("L", (4, 4), 0).save(tmp_path / "two\nlines.png")
    assert len(predicting("images=two\nlines.png").stdout.splitlines()) == 4


def test_an_unknown_colour_is_refused(predicting):
    done = predicting("images=dark.png", "background=whitish")
    assert not done.stdout
    assert done.returncode == 2
    assert (
        done.stderr == "nas: background=whitish is not a colour; expected a name such as white or black, or #ff8800\n"
    )


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[random,reinforce(lr=0.5,seed=1)]", ["random", "reinforce(lr=0.5,seed=1)"]),
        ('"[random,local_search]"', ["random", "local_search"]),
        ("random, local_search", ["random", "local_search"]),
        ("['a', \"b,c\" ,d]", ["a", "b,c", "d"]),
        ("[]", []),
        ("a,,b,", ["a", "b"]),
        ("a(1,b", ["a(1", "b"]),
    ],
)
def test_lists_are_split_at_their_own_commas(text, items):
    assert list_items(text) == items


def test_an_unreadable_file_is_reported_in_one_sentence(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    with pytest.raises(UserError, match=r"a.png cannot be read \("):
        read_image(folder(tmp_path / "model"), tmp_path / "a.png")


def test_transparent_pixels_show_the_background_of_the_training_pictures_unless_another_is_named(tmp_path, monkeypatch):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    model = folder(tmp_path / "model")
    monkeypatch.setattr(nas_prediction, "logits_function", lambda *_: lambda images: images.flatten(1)[:, :2] * 255)

    shades = []
    reading = nas_prediction.read_image

    def watched(model, path, background):
        shades.append(background)
        return reading(model, path, background)

    monkeypatch.setattr(nas_prediction, "read_image", watched)
    named = Folder(model.path, {**model.about, "data": {"settings": {"background": "black"}}})
    for about, given in ((model, None), (named, None), (named, "red")):
        list(nas_prediction.Predictor(about, None, given).predict([tmp_path / "clear.png"]))
    assert shades == [(255, 255, 255), (0, 0, 0), (255, 0, 0)]
