"""The grammar of a sweep: what Hydra's parser reads as several values, and what stays one value."""

import pytest
from conftest import ARCH

from nas import UsageError
from nas.config.sweeps import parse_sweep, refuse_foreign_keys

OPTIONS = {"strategy": ["random", "regularized_evolution", "reinforce"]}


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("strategy=random,reinforce", ["random", "reinforce"]),
        ("seed=range(0,3)", ["0", "1", "2"]),
        ("run=lab-seed=0,lab-seed=1", ["lab-seed=0", "lab-seed=1"]),
        ("seed=range(0, 6, 2)", ["0", "2", "4"]),
        ("trainer.lr=choice(0.1,1e-3)", ["0.1", "0.001"]),
        ("seed=sort(3,1,2)", ["1", "2", "3"]),
        ("strategy=glob(re*)", ["regularized_evolution", "reinforce"]),
        ("strategy=glob(*,exclude=re*)", ["random"]),
        ("strategies=[random,reinforce],[random]", ["[random,reinforce]", "[random]"]),
        ("budget={trials: 1},{trials: 2}", ["{trials:1}", "{trials:2}"]),
        ("run=a b,c d", ["a b", "c d"]),
        ("run='a,b',c", ["'a,b'", "c"]),
        ("data.root=/data/a,/data/b", ["/data/a", "/data/b"]),
        ("flag=true,null", ["True", "null"]),
    ],
)
def test_these_are_several_values(argument, values):
    sweep = parse_sweep([argument], OPTIONS)
    assert sweep.axes == {argument.partition("=")[0]: values}
    assert [job.arguments for job in sweep.jobs()] == [[f"{argument.partition('=')[0]}={value}"] for value in values]


@pytest.mark.parametrize(
    "argument",
    [
        "seed=3",
        f"arch={ARCH}",
        "strategies=[random,reinforce(lr=0.5)]",
        "run='a,b'",
        "arch=",
        "run=a b",
        "run=lab-strategy=random-seed=0",
        "run=range(0,3",
        "strategies=ranger(lr=0.5),",
        "+strategy.schedule=cosine(0.1",
        "seed='range(0,3'",
    ],
)
def test_these_are_one_value_and_stay_as_they_are(argument):
    sweep = parse_sweep([argument], OPTIONS)
    assert (sweep.axes, len(sweep), sweep.fixed) == ({}, 1, [argument])
    assert [(job.label, job.arguments) for job in sweep.jobs()] == [("job", [argument])]


def test_the_jobs_are_the_product_and_the_last_key_changes_fastest():
    sweep = parse_sweep(["strategy=random,reinforce", "data=digits", "seed=range(0,2)", "+strategy.x=1,2"], OPTIONS)
    assert len(sweep) == 8
    assert [job.label for job in sweep.jobs()][:3] == [
        "strategy=random-seed=0-strategy.x=1",
        "strategy=random-seed=0-strategy.x=2",
        "strategy=random-seed=1-strategy.x=1",
    ]
    assert sweep.jobs()[0].arguments == ["strategy=random", "data=digits", "seed=0", "+strategy.x=1"]
    assert sweep.fixed == ["data=digits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=1,1"], "seed=1,1 has the value 1 twice; expected each once"),
        (["seed=1", "seed=2"], "seed is given twice; expected it once, with all its values: seed=a,b"),
        (["seed=range(0,2),5"], "range(…) stands among other values; expected it on its own, or all values as a,b,c"),
        (
            ["strategy=random,glob(*)"],
            "glob(…) stands among other values; expected it on its own, or all",
        ),
        (["data.x=[choice(1,2)],[3]"], "choice(…) stands among other values; expected it on its own, or all values as"),
        (["seed=range(0,0)"], "seed=range(0,0) has no values; expected at least one, such as seed=range(0,5)"),
        (["seed=range(0,3"], "seed=range(0,3 is not a list of values; expected values such as seed=range(0,5) or seed"),
        (["seed=rnage(0,3)"], "seed=rnage(0,3) is not a list of values; expected values such as seed=range(0,5)"),
        (["budget.trials=range(0..3)"], "budget.trials=range(0..3) is not a list of values"),
        (["seed=choice()"], "seed=choice() is not a list of values"),
        (["seed=0,1,"], "seed=0,1, is not a list of values"),
        (["seed=range(0,3,0)"], "seed=range(0,3,0) has a step of 0; expected another step, or range(START,STOP)"),
        (["seed=range(0,1,0.0)"], "seed=range(0,1,0.0) has a step of 0"),
        (["seed=range(0,1000000000)"], "seed=range(0,1000000000) has more than 100,000 values; expected fewer"),
        (["seed=interval(0,1)"], "seed=interval(0,1) is not a list of values; expected values such as seed=range(0,5)"),
        (
            ["strategy=glob(x*)"],
            "strategy=glob(x*) matches nothing; expected one of random, regularized_evolution, rei",
        ),
        (["seed=glob(*)"], "seed=glob(*) matches nothing; expected seed to be a group of options"),
        (["strategi"], "'strategi' is not key=value (did you mean 'strategy'?)"),
    ],
)
def test_a_sweep_that_is_wrong_says_why(arguments, message):
    with pytest.raises(UsageError) as raised:
        parse_sweep(arguments, OPTIONS)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("argument", "use"),
    [
        ("hydra.run.dir=x", "the files of a run go to dir=FOLDER"),
        ("hydra.sweep.subdir=x", "the files of a sweep go to sweep_dir=FOLDER/sweep=NAME"),
        ("hydra/launcher=joblib", "choose where the jobs of a sweep run by launcher=local, slurm or ray"),
        ("hydra.searchpath=[conf]", "a folder with options of your own is --config-dir FOLDER"),
        ("~hydra.anything", "leave it out"),
    ],
)
def test_a_key_of_hydra_names_what_to_use(argument, use):
    with pytest.raises(UsageError, match="is a setting of Hydra, which only composes settings here; ") as raised:
        refuse_foreign_keys(["seed=1", argument])
    assert str(raised.value).endswith(use)
    refuse_foreign_keys(["seed=hydra.run", "run=hydra"])
