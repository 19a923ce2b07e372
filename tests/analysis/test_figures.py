import itertools

import numpy as np
import pytest
from matplotlib import image, rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from nas.analysis.canvas import colours, save
from nas.analysis.curves import Curve
from nas.analysis.figures.anytime import anytime, spread
from nas.analysis.figures.critical_difference import critical_difference
from nas.analysis.results import Column
from nas.analysis.statistics import rank

ACCURACY = Column("accuracy", optimum=94.37, label="CIFAR-10 test accuracy (%)")
NAMES = [
    "random", "reinforce(optimizer=sgd,lr=0.5)", "local_search", "reinforce(optimizer=adam,lr=0.001)",
    "regularized_evolution", "bananas(ensemble=5,acquisition=its)", "bohb", "successive_halving",
    "hyperband", "tpe", "smac", "gp_bayes",
]  # fmt: skip


def curves(count, stop=300.0, runs=30, equal=False, sign=1):
    x = np.unique(np.round(np.geomspace(1, stop, 60)))
    result = []
    for index, name in enumerate(NAMES[:count]):
        mean = sign * (94 - 10 / x - (0 if equal else 0.02 * index))
        band = None if runs == 1 else 1 / x + 0.02
        ends = (None, None) if band is None else (mean - band, mean + band)
        result.append(Curve(name, x, mean, *ends, runs, stop / (1 + index)))
    return result


def ranking(count, n=30, spread=1.0):
    rng = np.random.default_rng(1)
    shift = dict(zip(NAMES[:count], np.linspace(0, spread, count), strict=True))
    return rank({name: dict(enumerate(rng.normal(at, 1, n))) for name, at in shift.items()}, ACCURACY)


def overlapping(figure):
    """Texts that lie on one another or reach beyond the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        hidden |= {id(tick.label1) for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    boxes = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden:
            box = text.get_window_extent(canvas.get_renderer())
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
            assert inside, f"{text.get_text()!r} is cut off"
            boxes.append((text.get_text(), box))
    assert len(boxes) > 3
    return [(a, b) for (a, first), (b, second) in itertools.combinations(boxes, 2) if first.overlaps(second)]


@pytest.mark.parametrize("count", [1, 4, 12])
def test_labels_of_curves_do_not_overlap(count):
    assert not overlapping(anytime(curves(count), curves(count, stop=12_000.0), ACCURACY))


@pytest.mark.parametrize("settings", [{"equal": True}, {"runs": 1}, {"stop": 1.0}, {"stop": 8.0}, {"sign": -1}])
def test_labels_of_unusual_curves_do_not_overlap(settings):
    column = Column("x" * 30, optimum=-94.0, direction="minimize") if "sign" in settings else ACCURACY
    assert not overlapping(anytime(curves(8, **settings), [], column))


@pytest.mark.parametrize("scale", [1e-6, 1e7])
def test_labels_of_large_and_small_numbers_do_not_overlap(scale):
    lines = [Curve("a", np.arange(1.0, 50), scale * np.linspace(1, 2, 49), None, None, 1, 49.0)]
    assert not overlapping(anytime(lines, [], Column("x")))


@pytest.mark.parametrize(("count", "spread"), [(2, 0.0), (4, 0.1), (12, 1.0)])
def test_labels_of_ranks_do_not_overlap(count, spread):
    assert not overlapping(critical_difference(ranking(count, spread=spread), ACCURACY))


def test_a_panel_for_each_cost_that_is_known():
    assert len(anytime(curves(2), [], ACCURACY).axes) == 1
    figure = anytime(curves(2), curves(2, 12_000.0), ACCURACY)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "evaluated architectures (log scale)",
        "simulated seconds (log scale)",
    ]
    assert figure.axes[0].get_ylabel() == "CIFAR-10 test accuracy (%)"
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_the_title_says_n_and_interval():
    def title(figure):
        return next(text.get_text() for text in figure.texts if "so far" in text.get_text())

    assert title(anytime(curves(2), [], ACCURACY)).endswith("mean of 30 runs, 95 % bootstrap interval")
    assert title(anytime(curves(2, runs=1), [], ACCURACY)).endswith("one run per strategy, no interval")
    mixed = anytime([curves(1)[0], curves(2, runs=9)[1]], [], ACCURACY)
    assert title(mixed).endswith("mean of n runs, 95 % bootstrap interval")
    assert "random (n = 30)" in [text.get_text() for text in mixed.axes[0].texts]


def test_the_first_evaluations_do_not_set_the_range():
    """Curves start at 84; from 1/16 of 300 on the best is above 93.4."""
    low, high = anytime(curves(4), [], ACCURACY).axes[0].get_ylim()
    assert 93 < low < 93.5
    assert 93.99 < high < 94.3


def test_every_final_mean_is_within_the_range():
    bad = Curve("bad", np.arange(1.0, 301), np.full(300, 60.0), None, None, 1, 300.0)
    low, _ = anytime([*curves(2), bad], [], ACCURACY).axes[0].get_ylim()
    assert low < 60


def test_an_optimum_far_off_is_not_drawn():
    def labels(optimum):
        axes = anytime(curves(2), [], Column("x", optimum=optimum)).axes[0]
        return [text.get_text() for text in axes.texts if "optimum" in text.get_text()]

    assert labels(94.2) == ["optimum 94.2"]
    assert labels(99.0) == labels(None) == []


def test_a_label_has_a_sample_of_its_line():
    """Beside the panel is a sample of each line, in its colour and style."""
    axes = anytime(curves(4), [], ACCURACY).axes[0]
    wide = [line for line in axes.lines if line.get_linewidth() == 1.7 and line.get_linestyle() != "None"]
    samples = [line for line in wide if not line.get_clip_on()]
    lines = [line for line in wide if line.get_clip_on()]
    assert [(line.get_color(), line.get_linestyle()) for line in samples] == [
        (line.get_color(), line.get_linestyle()) for line in lines
    ]
    assert [line.get_linestyle() for line in samples] == ["-", "--", "-.", ":"]


def test_colours_become_lighter_in_print():
    for count in (2, 5, 12):
        grey = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in colours(count)]
        assert np.diff(grey).min() > 0.3 / count


def test_marks_lie_on_their_curve():
    (curve,) = lines = curves(1)
    points = set(zip(curve.x.tolist(), curve.mean.tolist(), strict=True))
    drawn = [line for line in anytime(lines, [], ACCURACY).axes[0].lines if line.get_marker() in ("o", "|")]
    drawn = [line for line in drawn if line.get_transform().contains_branch(line.axes.transData)]
    marks = [tuple(point) for line in drawn for point in line.get_xydata().tolist()]
    assert len(marks) >= 5
    assert set(marks) <= points


def test_labels_move_by_as_little_as_needed():
    assert spread(np.array([1.0, 3.0]), 1, 10).tolist() == [1, 3]
    assert spread(np.array([5.0, 5.0, 5.0]), 1, 10).tolist() == [4, 5, 6]
    assert spread(np.array([9.9, 0.1, 10.0]), 1, 10).tolist() == [9, 0.1, 10]
    assert spread(np.array([5.5, 5.0]), 1, 10).tolist() == pytest.approx([5.75, 4.75])


def test_the_files_are_whole_and_equal_each_time(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save(anytime(curves(3), [], ACCURACY), tmp_path / name / "anytime")
        png, svg = save(critical_difference(ranking(3), ACCURACY), tmp_path / name / "cd")
    assert sorted(path.name for path in png.parent.iterdir()) == ["anytime.png", "anytime.svg", "cd.png", "cd.svg"]
    for path in png.parent.iterdir():
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes(), path.name
    height, width, _ = image.imread(png).shape
    assert 600 < width < 4000
    assert 300 < height < 4000
    assert "<dc:date>" not in svg.read_text()


def test_the_users_settings_are_neither_used_nor_changed(tmp_path, monkeypatch):
    plain, _ = save(critical_difference(ranking(3), ACCURACY), tmp_path / "plain")
    monkeypatch.setitem(rcParams, "font.size", 30)
    monkeypatch.setitem(rcParams, "savefig.facecolor", "red")
    styled, _ = save(critical_difference(ranking(3), ACCURACY), tmp_path / "styled")
    assert plain.read_bytes() == styled.read_bytes()
    assert rcParams["font.size"] == 30


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    png, _ = save(critical_difference(ranking(2), ACCURACY), tmp_path / "cd")
    old, figure = png.read_bytes(), critical_difference(ranking(3), ACCURACY)

    def broken(path, **more):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(OSError, match="disk full"):
        save(figure, tmp_path / "cd")
    assert png.read_bytes() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cd.png", "cd.svg"]
