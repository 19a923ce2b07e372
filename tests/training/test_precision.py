"""What is set of the precision of products while a training runs, and that all of it is as before afterwards."""

import subprocess
import sys

import pytest
import torch

from nas.training.device import configured
from nas.training.recipe import Recipe

CPU = torch.device("cpu")

STATES = {
    "as torch begins": "",
    "older flags": "b.cuda.matmul.allow_tf32 = True; b.cudnn.allow_tf32 = False",
    "older flags the other way round": "b.cuda.matmul.allow_tf32 = False; b.cudnn.allow_tf32 = True",
    "older function": "torch.set_float32_matmul_precision('high')",
    "for all": "b.fp32_precision = 'tf32'",
    "for all, exactly": "b.fp32_precision = 'ieee'",
    "for CUDA": "b.cudnn.fp32_precision = 'ieee'",
    "for operations": "b.cuda.matmul.fp32_precision = 'tf32'; b.cudnn.conv.fp32_precision = 'ieee'",
    "for the CPU": "b.mkldnn.conv.fp32_precision = 'bf16'; b.fp32_precision = 'bf16'",
}

SCRIPT = """
import torch
from nas.training.device import configured
from nas.training.recipe import Recipe
b = torch.backends
{user}
def read():
    return [b.fp32_precision, b.cudnn.fp32_precision, b.cuda.matmul.fp32_precision, b.cudnn.conv.fp32_precision,
            b.cudnn.rnn.fp32_precision, b.mkldnn.matmul.fp32_precision, b.mkldnn.conv.fp32_precision]
def probe():
    '''What is read now, and what would be read if the user went on and set something more general.'''
    before, found = b.fp32_precision, [read()]
    for value in ("ieee", "tf32", "none"):
        b.fp32_precision = value
        found.append(read())
    b.fp32_precision = before
    return found
first = probe()
for precision, cuda in (("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")):
    with configured(torch.device("cpu"), Recipe(epochs=1, precision=precision, deterministic=False)):
        assert read()[2:] == [cuda] * 3 + ["ieee"] * 2, (precision, read())
        torch.nn.Conv2d(1, 1, 3)(torch.ones(1, 1, 4, 4)) @ torch.ones(2, 2)
    assert probe() == first, (precision, first, probe())
"""


def test_products_are_exact_within_and_every_setting_is_as_before(tmp_path):
    """In fresh processes, since torch's first state cannot be set again; forked from one that has torch loaded."""
    lines = [
        "import os, sys, torch, nas.training.device",
        "failed = []",
        f"script, states = {SCRIPT!r}, {STATES!r}",
        "for name, user in states.items():",
        "    sys.stdout.flush()",
        "    child = os.fork()",
        "    if child == 0:",
        "        try:",
        "            exec(script.replace('{user}', user), {})",
        "        except BaseException as error:",
        "            print(name, repr(error), flush=True)",
        "            os._exit(1)",
        "        os._exit(0)",
        "    failed += [name] if os.waitpid(child, 0)[1] else []",
        "sys.exit(bool(failed))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_setting_survives_a_training_that_fails():
    before = torch.backends.fp32_precision
    with pytest.raises(ZeroDivisionError), configured(CPU, Recipe(epochs=1, precision="tf32")):
        raise ZeroDivisionError
    assert torch.backends.fp32_precision == before
