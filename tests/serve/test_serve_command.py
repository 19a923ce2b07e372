"""`nas serve` runs until Ctrl-C, stores nothing, and refuses what it cannot serve in a sentence."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from io import BytesIO

import pytest
from conftest import ARCH
from PIL import Image
from served import ABOUT
from written import run, without_processes

from nas.serve.server import PredictionServer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained cell, exported as its weights."""
    folder = tmp_path_factory.mktemp("served")
    with without_processes():
        run(
            folder, "export", f"arch={ARCH}", "space.channels=4", "space.cells=1", "format=state", "images=8", "out=won"
        )
    return folder / "won"


def test_it_labels_as_nas_predict_until_it_is_interrupted_and_writes_nothing(model, nas, tmp_path):
    stream = BytesIO()
    Image.radial_gradient("L").save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    (expected,) = json.loads(nas("predict", f"model={model}", "images=a.png", "format=json").stdout)
    (tmp_path / "empty").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", "serve", f"model={model}", "port=0", "top=2"],
        cwd=tmp_path / "empty", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        address = re.fullmatch(
            r"Open http://127\.0\.0\.1:(\d+)/ in a browser and drop pictures onto the page; Ctrl-C ends it\.\n", line
        )
        assert address, line + process.stderr.read()
        connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=30)
        connection.request("POST", "/predict", stream.getvalue(), {"Content-Type": "application/octet-stream"})
        answer = json.loads(connection.getresponse().read())
        process.send_signal(signal.SIGINT)  # while the browser keeps its connection open
        out, err = process.communicate(timeout=30)
        connection.close()
    finally:
        process.kill()
        process.wait()
    assert answer["label"] == expected["label"]
    assert len(answer["top"]) == 2
    assert answer["top"][0]["probability"] == pytest.approx(max(expected["probabilities"].values()), abs=1e-5)
    assert (process.returncode, out, err) == (130, "", "\nnas: interrupted\n")
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.fixture
def serve(nas, model, monkeypatch):
    """Runs `nas serve` up to the moment when it would wait for requests."""

    def interrupted(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(PredictionServer, "serve_forever", interrupted)
    return lambda *more: nas("serve", f"model={model}", "port=0", *more)


def test_an_address_of_the_network_is_warned_of_and_loopback_is_not(serve):
    done = serve("host=0.0.0.0")
    assert done.stderr.startswith(
        "nas: warning: host=0.0.0.0: whoever reaches this machine in its network can use the model, and pictures "
        "travel there unencrypted\n"
    )
    assert re.match(r"Open http://127\.0\.0\.1:\d+/ in a browser", done.stdout)
    assert "warning" not in serve("host=localhost").stderr


def test_mistakes_are_refused_in_a_sentence(model, refused, tmp_path):
    (tmp_path / "rgba").mkdir()
    task = ABOUT["task"] | {"channels": 4}
    normal = {"mean": [0.0] * 4, "std": [1.0] * 4}
    (tmp_path / "rgba" / "model.json").write_text(json.dumps(ABOUT | {"task": task, "preprocessing": normal}))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, message in (
            ([], "model=null; expected a folder of nas export"),
            ([f"model={tmp_path}/none"], "is not an exported model: model.json cannot be read (No such file or dir"),
            (["model=rgba"], "model=rgba takes images of 4 channels; only grey and RGB files can be read"),
            (
                [f"model={model}", "port=65536"],
                "port must be a whole number of at least 0 and at most 65535, got 65536",
            ),
            ([f"model={model}", "port=-1"], "port must be a whole number of at least 0"),
            ([f"model={model}", "top=0"], "top must be a whole number of at least 1"),
            (
                [f"model={model}", "threshold=2"],
                "threshold must be a number of at least 0 and at most 1 or null, got 2",
            ),
            ([f"model={model}", "background=whitish"], "background=whitish is not a colour"),
            ([f"model={model}", "host="], "host= is empty; expected 127.0.0.1"),
            ([f"model={model}", "host=192.0.2.1"], "host=192.0.2.1 is not an address of this machine ("),
            (
                [f"model={model}", f"port={port}"],
                f"port={port} is in use by another program; choose another, or port=0",
            ),
        ):
            assert refused("serve", *arguments, match=re.escape(message)).count("\n") == 1


def test_a_sweep_of_servers_is_refused(refused):
    refused("serve", "-m", "top=1,2", match="-m has no use with nas serve")
