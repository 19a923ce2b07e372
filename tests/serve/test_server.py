"""The server of `nas serve` labels what its page sends, and nothing that another site or another name asks for."""

import http.client
import json
import socket
import threading
from io import BytesIO

import pytest
from PIL import Image
from served import serving

from nas.errors import UsageError
from nas.serve import server as nas_server
from nas.serve.server import PredictionServer, is_loopback


def png(grey, mode="L"):
    stream = BytesIO()
    Image.new(mode, (8, 8), grey).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("serve") / "brightness") as running:
        yield running


@pytest.fixture
def ask(server):
    """Sends a request; returns status, headers and text of the answer."""

    def run(method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        connection.putrequest(method, path, skip_host="Host" in headers)
        if body is not None:
            headers = {"Content_Length": str(len(body)), **headers}
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, answer.headers, text.decode()

    return run


@pytest.fixture
def labelled(ask):
    """What the server says of a picture."""

    def run(data, **headers):
        status, _, text = ask("POST", "/predict", data, Content_Type="application/octet-stream", **headers)
        assert status == 200
        return json.loads(text)

    return run


def test_a_picture_is_labelled(labelled):
    answer = labelled(png(255))
    assert (answer["label"], answer["is_none"]) == ("light", False)
    assert [one["class"] for one in answer["top"]] == ["light", "dark"]
    assert [one["probability"] for one in answer["top"]] == pytest.approx([0.982, 0.018], abs=1e-3)


def test_a_picture_below_the_threshold_is_none_of_the_classes(labelled):
    answer = labelled(png(150))
    assert (answer["label"], answer["is_none"]) == ("none of these", True)
    assert answer["top"][0]["class"] == "light"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "This file cannot be read (it is empty)"),
        (b"<script>alert(1)</script>", "This file cannot be read (not an image)"),
        (png(9)[:50], "This file cannot be read ("),
    ],
)
def test_a_file_that_is_not_an_image_has_a_sentence(labelled, data, reason):
    answer = labelled(data)
    assert list(answer) == ["error"]
    assert answer["error"].startswith(reason)


def test_a_picture_of_too_many_pixels_has_a_sentence(labelled, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert labelled(png(9)) == {"error": "This file cannot be read (it has more than 40 pixels)"}


def test_a_network_that_fails_is_reported_and_the_server_goes_on(tmp_path, capsys):
    def failing(images):
        raise RuntimeError("secret of the network")

    with serving(tmp_path / "model", logits=failing) as running:
        assert running.label(png(9)) == {"error": "This file could not be labelled (RuntimeError)"}
        assert "a picture could not be labelled" in capsys.readouterr().err
    with serving(tmp_path / "model", logits=lambda images: images.mean((2, 3))) as running:
        assert "does not give 2 finite logits per image" in running.label(png(9))["error"]


def test_pictures_that_arrive_together_all_have_their_label(labelled):
    found = {}

    def run(grey):
        found[grey] = labelled(png(grey))["label"]

    threads = [threading.Thread(target=run, args=(grey,)) for grey in (0, 1, 2, 3, 252, 253, 254, 255)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {grey: "dark" if grey < 100 else "light" for grey in (0, 1, 2, 3, 252, 253, 254, 255)}


def test_the_page_and_its_parts_are_sent_with_headers_that_keep_them_on_this_machine(ask):
    for path, content_type in (
        ("/", "text/html; charset=utf-8"),
        ("/?x", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/script.js", "text/javascript; charset=utf-8"),
        ("/model.json", "application/json"),
    ):
        status, headers, text = ask("GET", path)
        assert (status, headers["Content-Type"]) == (200, content_type)
        assert text
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "http" not in text.replace("http://www.w3.org", "")
    status, headers, text = ask("HEAD", "/")
    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) > 500


def test_the_page_is_told_what_it_shows_of_the_model(ask):
    about = json.loads(ask("GET", "/model.json")[2])
    assert about["name"] == "brightness"
    assert about["classes"] == ["dark", "light"]
    assert (about["test_accuracy"], about["threshold"], about["is_local"]) == (0.98765, 0.9, True)
    assert ".png" in about["suffixes"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "a b"])
def test_a_name_that_was_made_to_lead_here_is_refused(ask, host):
    """DNS rebinding: a page of evil.example, whose name now has the address 127.0.0.1, is of the same origin."""
    for method, path in (("GET", "/model.json"), ("POST", "/predict")):
        status, headers, text = ask(method, path, b"", Host=host)
        assert status == 403
        assert "this server is not" in text
        assert "Content-Security-Policy" in headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "LOCALHOST", "[::1]:8000", "192.168.0.2:1"])
def test_addresses_and_localhost_are_accepted_also_through_a_tunnel_with_another_port(ask, host):
    assert ask("GET", "/model.json", Host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", ""])
def test_pages_of_other_sites_are_refused(ask, origin):
    status, _, text = ask("POST", "/predict", png(9), Content_Type="application/octet-stream", Origin=origin)
    assert (status, text) == (403, "pages of other sites may not use this server\n")


def test_its_own_page_is_accepted(server, labelled):
    assert labelled(png(0), Origin=f"http://127.0.0.1:{server.server_port}")["label"] == "dark"


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
def test_what_a_form_of_another_site_could_send_is_refused(ask, content_type):
    status, _, text = ask("POST", "/predict", png(9), Content_Type=content_type)
    assert (status, text) == (415, "expected a picture as application/octet-stream\n")


@pytest.mark.parametrize(
    ("length", "status", "sentence"),
    [
        (str(nas_server.MAX_BYTES + 1), 413, "expected at most 67108864 bytes, got 67108865"),
        ("9" * 30, 413, "expected at most 67108864 bytes, got "),
        ("-1", 411, "expected a picture with its Content-Length"),
        ("many", 411, "expected a picture with its Content-Length"),
        ("²", 411, "expected a picture with its Content-Length"),
    ],
)
def test_a_picture_that_is_too_large_is_refused_before_it_is_read(ask, length, status, sentence):
    answer = ask("POST", "/predict", None, Content_Type="application/octet-stream", Content_Length=length)
    assert answer[0] == status
    assert answer[2].startswith(sentence)
    assert answer[1]["Connection"] == "close"


@pytest.mark.parametrize("path", ["/../server.py", "/page/index.html", "//etc/passwd", "/index.html", "/predict"])
def test_nothing_else_is_sent(ask, path):
    status, headers, text = ask("GET", path)
    assert status == 404
    assert headers["Content-Type"].startswith("text/plain")
    assert text.endswith("expected /\n")
    assert ask("POST", "/", b"x")[0] == 404


def test_other_methods_and_broken_requests_are_refused_without_html(ask, server):
    assert ask("PUT", "/predict", b"x")[0] == 501
    assert ask("OPTIONS", "/predict")[0] == 501
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(b"\x16\x03\x01<b>\r\n\r\n")  # as a browser begins https
        answer = connection.recv(10_000)
    assert b"Bad request" in answer
    assert b"<b>" not in answer


def test_a_client_that_leaves_while_it_sends_disturbs_nobody(server, labelled, capfd):
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Length: 1000\r\n\r\nabc"
        )
    assert labelled(png(0))["label"] == "dark"
    assert capfd.readouterr().err == ""


def test_a_server_for_the_network_answers_to_the_name_of_this_machine(tmp_path):
    with serving(tmp_path / "model", host="0.0.0.0") as running:
        assert running.about()["is_local"] is False
        assert running.url == f"http://127.0.0.1:{running.server_port}/"
        assert running.accepts_host(f"{socket.gethostname()}:80")
        assert not running.accepts_host("evil.example")


def test_an_address_of_ipv6_is_served(tmp_path):
    try:
        with serving(tmp_path / "model", host="::1") as running:
            assert running.url == f"http://[::1]:{running.server_port}/"
            connection = http.client.HTTPConnection("::1", running.server_port, timeout=20)
            connection.request("GET", "/model.json")
            assert connection.getresponse().status == 200
            connection.close()
    except UsageError as error:
        pytest.skip(f"this machine has no IPv6 ({error})")


def test_a_port_in_use_and_a_foreign_address_are_refused_in_a_sentence(server):
    with pytest.raises(
        UsageError, match=rf"^port={server.server_port} is in use by another program; choose another, or "
    ):
        PredictionServer(server.predictor, "127.0.0.1", server.server_port, 5)
    for host in ("192.0.2.1", "nowhere.invalid", "a..b", "ä" * 70):
        with pytest.raises(UsageError, match=rf"^host={host} is not an address of this machine \("):
            PredictionServer(server.predictor, host, 0, 5)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.2", False), ("workstation", False)],
)  # fmt: skip
def test_only_loopback_is_local(host, expected):
    assert is_loopback(host) is expected
