"""The plan of a fit: what there is time for, and what is said where there is not."""

from dataclasses import replace

import pytest

from nas.errors import UsageError
from nas.fit.plan import BASELINE, Counts, Plan, make_plan
from nas.fit.speeds import Speeds

METHODS = ("baseline", "frozen", "finetuned", "searched")
SPEEDS = Speeds(
    20.0,
    {
        "method=baseline;rate=1.0": 800, "method=searched;rate=1.0": 600,
        "method=finetuned;finetuned_side=96;tuned=all": 60,
    },
    {
        "method=baseline;rate=1.0": 3000, "method=searched;rate=1.0": 2500, "method=frozen;side=96": 200,
        "method=frozen;side=128": 110, "method=frozen;side=160": 65, "method=frozen;side=224": 31,
    },
)  # fmt: skip
"""Of two cores of a laptop."""
SETS = {
    "few": Counts(80, 20, 200, 10),
    "some": Counts(800, 200, 2000, 10),
    "many": Counts(12_000, 4000, 4000, 10),
    "most": Counts(32_000, 8000, 10_000, 10),
}


@pytest.mark.parametrize("counts", SETS.values(), ids=SETS)
@pytest.mark.parametrize("minutes", [1, 2, 5, 30, 240])
def test_every_plan_ends_in_time_with_the_baseline_in_it(minutes, counts):
    plan = make_plan(minutes, counts, SPEEDS, METHODS)
    assert plan.methods[0] == "baseline"
    until = plan.search_until(None)
    assert until + plan.final_seconds(BASELINE) + plan.export <= plan.seconds + 1e-6
    if minutes >= 2:
        assert until - SPEEDS.before > 4 * plan.trial_seconds(BASELINE)


def test_more_time_gives_larger_images_and_more_epochs():
    plans = [make_plan(minutes, SETS["some"], SPEEDS, METHODS) for minutes in (2, 5, 30)]
    assert plans[0].sides[-1] < plans[1].sides[-1] < plans[2].sides[-1] == 224
    assert "finetuned" not in plans[0].methods
    assert plans[1].epochs["finetuned"] <= plans[2].epochs["finetuned"]
    assert plans[0].epochs["baseline"] < plans[1].epochs["baseline"] <= plans[2].epochs["baseline"]


def test_what_there_is_no_time_for_is_said():
    plan = make_plan(1, SETS["most"], SPEEDS, METHODS)
    assert plan.methods == ("baseline", "searched")
    assert plan.notes == ("There is no time for the pretrained network; more minutes would allow it.",)
    assert plan.train_images["baseline"] < 32_000


def test_too_short_a_time_names_what_fits():
    with pytest.raises(UsageError, match=r"minutes=0.2 is too short: .* took 20 s, .* about \d+ s; set minutes=\d"):
        make_plan(0.2, SETS["few"], SPEEDS, METHODS)
    with pytest.raises(UsageError) as refused:
        make_plan(0.2, SETS["few"], SPEEDS, METHODS)
    make_plan(float(str(refused.value).split("minutes=")[2].split()[0]), SETS["few"], SPEEDS, METHODS)


def test_without_a_backbone_everything_starts_from_random_weights():
    plan = make_plan(5, SETS["some"], SPEEDS, ("baseline", "searched"))
    assert plan.methods == ("baseline", "searched")
    assert plan.sides == plan.finetuned_sides == ()
    assert not any("sides" in word for word in plan.space_arguments())


def test_a_slow_search_leaves_the_final_training_fewer_epochs():
    plan = make_plan(10, SETS["many"], SPEEDS, METHODS)
    epochs, images, seconds = plan.final(BASELINE, 100.0)
    fewer, _, as_long = plan.final(BASELINE, 100.0, slowness=2.0)
    assert fewer < epochs
    assert max(seconds, as_long) <= 100.0
    assert images == 16_000


def test_a_plan_is_read_back_as_it_was_written():
    plan = make_plan(5, SETS["some"], SPEEDS, METHODS)
    assert Plan.from_json({**plan.to_json(), "device": "cpu", "steps": []}) == plan


def test_recorded_speeds_that_are_none_are_refused():
    for wrong in (None, {"before": 1}, {"before": 1, "train": {"a": "fast"}, "run": {}}, []):
        with pytest.raises(UsageError, match=r"speed=here.json does not hold recorded speeds"):
            Speeds.from_json(wrong, "here.json")
    with pytest.raises(UsageError, match=r"holds a speed that is not above 0"):
        Speeds.from_json(replace(SPEEDS, run={"a": 0.0}).to_json(), "here.json")
