"""`tune.SETTING=`: hyperparameters searched with the architecture, carried to retraining and export."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

SMALL = ("data=digits", "trainer=tiny", "trainer.epochs=2", "trainer.train_images=64", "trainer.valid_images=64")
LR = "tune.lr=float(0.01, 0.3, log, steps=5)"
NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, classes, in_channels, width=4):
        super().__init__(
            nn.Conv2d(in_channels, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(width, classes),
        )
"""


def rows(result):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_winner_is_retrained_and_exported_with_the_recipe_that_made_it_the_winner(nas):
    """The warm-up of 1 of 2 epochs is 2 of 4 in the retraining."""
    tune = (
        LR,
        "tune.warmup_epochs=integer(0, 1)",
        "tune.optimizer=categorical(adamw)",
        "tune.network.channels=ordinal(4, 8)",
    )
    assert nas("search", *SMALL, *tune, "strategy=random", "budget.trials=2", "run=both").returncode == 0
    shown = rows(nas("show", "run=both", "trial=best", "format=json"))
    decided = {name.removeprefix("tune."): value for name, value in shown["decisions"].items() if "tune." in name}
    assert decided.keys() == {"lr", "warmup_epochs", "optimizer", "network.channels"}
    retrained = rows(
        nas("retrain", "run=both", "trial=best", "trainer=tiny", "trainer.epochs=4", "trainer.train_images=64",
            "format=json")
    )  # fmt: skip
    recipe = retrained["protocol"]["recipe"]
    assert recipe["lr"] == float(decided["lr"])
    assert recipe["optimizer"] == "adamw"
    assert recipe["network"]["channels"] == int(decided["network.channels"])
    assert recipe.get("warmup_epochs", 0) == 2 * int(decided["warmup_epochs"])
    assert nas("export", "run=both", "trial=best", "images=8", "format=[genotype,state]", "out=model").returncode == 0
    card = Path("model/MODEL_CARD.md").read_text()
    assert f"lr {decided['lr']}" in card
    assert "| tuned in the search | lr float(0.01, 0.3, log, steps=5); network.channels ordinal(4, 8); " in card
    described = rows(nas("describe", "arch=model/genotype.json", "data=digits", "format=json"))
    assert described["decisions"]["tune.lr"] == decided["lr"]
    assert described["network"]["channels"] == int(decided["network.channels"])


def test_the_leaderboard_shows_and_compares_tuned_settings(nas):
    nas("search", *SMALL, LR, "tune.momentum=ordinal(0.5, 0.9)", "tune.optimizer=categorical(sgd, adamw)",
        "strategy=random", "budget.trials=4", "run=lrs")  # fmt: skip
    table = rows(nas("leaderboard", "run=lrs", "columns=[tune.optimizer,tune.momentum,tune.lr,arch]", "format=json"))
    assert len(table) == 4
    for row in table:
        assert (row["tune.momentum"] is None) == (row["tune.optimizer"] == "adamw")
        assert f"lr={row['tune.lr']}" in row["arch"]
    above = rows(nas("leaderboard", "run=lrs", "where=tune.lr>0.05", "columns=[tune.lr]", "format=json"))
    assert sorted(row["tune.lr"] for row in above) == sorted(r["tune.lr"] for r in table if r["tune.lr"] > 0.05)


def test_a_network_of_ones_own_is_tuned_in_its_width(nas):
    Path("my_net.py").write_text(NET)
    fixed = ("space=fixed", "space.network=my_net.Net", "tune.network.width=integer(2, 8, step=2)", LR)
    result = nas("search", *SMALL, *fixed, "strategy=random", "budget.trials=2", "run=own")
    assert result.returncode == 0, result.stderr
    code = "space.network=my_net.Net"
    assert f"nas retrain run=own trial=best {code} trainer=tiny" in result.stdout
    assert nas("retrain", "run=own", "trial=best", code, "trainer=tiny", "trainer.train_images=64").returncode == 0
    assert nas("export", "run=own", "trial=best", code, "images=8", "format=[state]", "out=own").returncode == 0


def test_code_that_a_file_or_a_run_names_is_not_imported(nas, refused, tmp_path):
    Path("evil.py").write_text("from pathlib import Path\nPath('imported').touch()\n" + NET)
    trusted = ("space=fixed", "space.network=evil.Net")
    assert nas("search", *SMALL, *trusted, LR, "budget.trials=1", "run=evil").returncode == 0
    assert nas("export", "run=evil", trusted[1], "images=8", "format=[genotype,state]", "out=model").returncode == 0
    Path("imported").unlink()
    sys.modules.pop("evil")
    message = (
        r"space\.network=evil\.Net is code that the run or the file names.*add space\.network=evil\.Net to the command"
    )
    for arguments in (["describe", "run=evil"], ["retrain", "run=evil"], ["describe", "arch=model/genotype.json"]):
        refused(*arguments, match=message)
    (tmp_path / "photos").mkdir()
    Image.new("L", (8, 8)).save("photos/a.png")
    refused("predict", "model=model", "images=photos", match=r"the network is evil\.Net, code that would be imported")
    assert not Path("imported").exists()


def test_a_published_architecture_is_a_space_of_one(nas):
    described = rows(nas("describe", "space=fixed", "space.arch=DARTS_V2", "format=json"))
    assert (described["size"], described["decisions"]) == (1, {"network": ["DARTS_V2"]})
    whole = rows(nas("describe", "space=darts", "arch=DARTS_V2", "format=json"))
    one = rows(nas("describe", "space=fixed", "space.arch=DARTS_V2", "arch=DARTS_V2", "format=json"))
    assert one["params"] == whole["params"]


def test_a_torchvision_network_is_a_space_of_one(nas):
    described = rows(
        nas("describe", "space=fixed", "space.network=torchvision.models.squeezenet1_1",
            "arch=torchvision.models.squeezenet1_1", "format=json")
    )  # fmt: skip
    assert described["params"] == 727_626  # 1,235,496 with 1,000 classes


def test_a_run_with_other_ranges_is_not_resumed(nas, refused):
    nas("search", *SMALL, LR, "strategy=random", "budget.trials=1", "run=ranges")
    refused(
        "search", *SMALL, LR.replace("0.3", "0.4"), "strategy=random", "budget.trials=1", "run=ranges",
        match=r"was started with tune\.lr=float\(0\.01, 0\.3, log, steps=5\) "
        r"\(now float\(0\.01, 0\.4, log, steps=5\)\)\. Choose another run=",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune.learning_rate=float(0.1, 0.2)"], r"has no setting 'learning_rate' \(did you mean 'tune\.lr'\?\)"),
        ([LR, "trainer.lr=0.1"], r"trainer\.lr=0\.1 and tune\.lr exclude each other; leave one of them out"),
        ([LR, "strategy=darts"], r"tune\.lr has no effect on a supernet"),
        (
            [LR, "evaluator=table", "table=cifar10_8x8"],
            r"tune\.lr has no effect on table .*whose rows are of one recipe",
        ),
        (["tune.network.channels=ordinal(4, 8)", "trainer.network={channels: 4}"], "exclude each other"),
        (["tune={lr: 1}"], r"expected tune\.SETTING=DECISION, such as tune\.lr='float"),
        (
            ["tune.nesterov=categorical(true, false)", "trainer.optimizer=adamw"],
            "no effect with trainer.optimizer=adamw",
        ),
        (["space=nats_sss", "tune.network.channels=ordinal(8, 16)"], "channels is not a size of .*; it has none"),
        (["tune.lr=0.1"], r"tune\.lr=0\.1 is one value; expected several"),
        (["tune.lr=float(0.5, 0.1)"], r"tune\.lr=float\(0\.5, 0\.1\): low is above high"),
        (["space=fixed"], "expected one of them, such as space.arch=DARTS_V2 or space.network="),
        (["space=fixed", "space.arch=DARTS_V3"], "is not an architecture of .*darts.*published names are DARTS_V1"),
        (["space=fixed", "space.network=no_module.Net"], "cannot be imported: No module named 'no_module'"),
        (["space=fixed", "space.network=Net"], "is not module.name; expected such as my_module.Net"),
        (["space=fixed", "space.arch=DARTS_V2", "space.network=a.B"], "expected one of them"),
    ],
)
def test_a_tuned_setting_without_effect_is_refused(refused, arguments, message):
    refused("search", *([] if "evaluator=table" in arguments or "strategy=darts" in arguments else SMALL[:2]),
            *arguments, match=message)  # fmt: skip


def test_the_spelling_and_the_order_of_tuned_settings_do_not_matter(nas):
    first = ("tune.lr=float(0.01,0.3,log,steps=5)", "tune.momentum=ordinal(0.5,0.9)")
    second = ("tune.momentum=ordinal( 0.5, 0.9 )", "tune.lr= float(0.01, 0.3, log, steps = 5)")
    for tune in (first, second):
        assert nas("search", *SMALL, *tune, "strategy=random", "budget.trials=1").returncode == 0
    assert len(rows(nas("runs", "format=json"))) == 1


def test_a_setting_may_be_unset(nas):
    arch = "space.arch=|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
    tune = "tune.grad_clip=categorical(null, 5.0)"
    assert nas("search", *SMALL, "space=fixed", arch, tune, "strategy=grid", "run=clip").returncode == 0
    table = rows(nas("leaderboard", "run=clip", "columns=[tune.grad_clip]", "format=json"))
    assert {row["tune.grad_clip"] for row in table} == {"None", 5.0}
    assert nas("retrain", "run=clip", "trial=0", "trainer=tiny", "trainer.train_images=64").returncode == 0


def test_a_part_of_the_training_images_is_a_setting(nas):
    """100 images are 100, although more are loaded."""
    tune = ("tune.train_images=ordinal(50, 100, 200)", "trainer.epochs=1")
    arch = "space.arch=|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
    small = ("data=digits", "trainer=tiny", "trainer.valid_images=64", "space=fixed", arch)
    assert nas("search", *small, *tune, "strategy=grid", "run=parts").returncode == 0
    trials = rows(nas("leaderboard", "run=parts", "columns=[tune.train_images,train_loss]", "format=json"))
    assert len({trial["train_loss"] for trial in trials}) == 3


def test_check_accepts_a_tuned_space(nas):
    result = nas("check", "space=nasbench201", LR, "export=false", "trainer.network={channels: 4, cells: 1}")
    assert result.returncode == 0, result.stdout


def test_a_space_is_drawn_as_a_tree(nas):
    result = nas(
        "describe", "space=nasbench201", "tune.optimizer=categorical(sgd, adamw)", "tune.momentum=ordinal(0.5, 0.9)"
    )
    assert result.returncode == 0
    assert "size:        46,875" in result.stdout
    assert "  tune.optimizer         sgd, adamw\n  └─ sgd: tune.momentum  0.5, 0.9 (ordered)\n" in result.stdout
