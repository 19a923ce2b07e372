"""Serves the page and labels the pictures that it sends; nothing is stored.

A page of another site must not use the model: the browser names the site in `Origin`, a picture needs a content type
that other sites may not send, and a request whose `Host` is a name of another machine is refused, since such a name may
have been made to lead here (DNS rebinding).
"""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Lock
from typing import Any, ClassVar, NoReturn
from urllib.parse import urlsplit

from nas.errors import UsageError, UserError, located
from nas.export.prediction import Predictor, Unreadable
from nas.pictures.decoding import Upload
from nas.pictures.suffixes import image_suffixes
from nas.runtime.streams import say

MAX_BYTES = 64 * 2**20
"""Size of the largest picture: a photograph of 100 million pixels as JPEG, or of 20 million with 16 bits."""
SECONDS = 60
"""How long a client may take to send the next bytes."""
PICTURE_TYPE = "application/octet-stream"
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/script.js": ("script.js", "text/javascript; charset=utf-8"),
}
"""Path -> file of `nas/serve/page/`, and its type."""
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class PredictionServer(ThreadingHTTPServer):
    """A server for one model; bound when it is made, `serve_forever` answers.

    Args:
        predictor: The model.
        host: Name or address to listen at.
        port: Port, 1 to 65535; 0: a free one.
        top: Number of classes that the page shows of each picture.

    Raises:
        UsageError: It cannot listen there.
    """

    daemon_threads = True  # a browser that keeps a connection open does not keep the command from ending

    def __init__(self, predictor: Predictor, host: str, port: int, top: int) -> None:
        self.predictor, self.host, self.top = predictor, host, min(top, len(predictor.classes))
        self.lock = Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), Handler)
        except (OSError, TypeError, UnicodeError) as error:  # the others: a name that cannot be looked up
            _refuse(error, host, port)

    def server_bind(self) -> None:
        """Bind without the look-up of the machine's name that `HTTPServer` makes, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what ended a connection, unless the client did."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            say(f"nas: a request failed: {located(error)}")

    @property
    def url(self) -> str:
        """Address of the page on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.server_port}/" if ":" in host else f"http://{host}:{self.server_port}/"

    def accepts_host(self, host: str | None) -> bool:
        """Whether a `Host` header names this server: by an address, or by a name that cannot be made to lead here."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            own = {"localhost", self.host.lower()}
            if not is_loopback(self.host):
                own |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
            return name in own
        return True

    def about(self) -> dict[str, Any]:
        """What the page says of the model."""
        about = self.predictor.folder.about
        trained = about.get("trained") or {}
        return {
            "name": self.predictor.folder.path.resolve().name,
            "classes": list(self.predictor.classes),
            "test_accuracy": trained.get("test_accuracy"),
            "threshold": self.predictor.threshold,
            "max_bytes": MAX_BYTES,
            "suffixes": sorted(image_suffixes()),
            "is_local": is_loopback(self.host),
        }

    def label(self, data: bytes) -> dict[str, Any]:
        """Label and likeliest classes of a picture, or `error`, a sentence."""
        try:
            with self.lock:  # one picture at a time takes the memory of one
                (one,) = self.predictor.predict([Upload("This file", data)])
        except UserError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - a network of a user's own space
            say(f"nas: a picture could not be labelled: {located(error)}")
            return {"error": f"This file could not be labelled ({type(error).__name__})"}
        if isinstance(one, Unreadable):
            return {"error": one.message}
        ranked = sorted(zip(self.predictor.classes, one.probabilities, strict=True), key=lambda pair: -pair[1])
        return {
            "label": one.label,
            "is_none": one.is_none,
            "top": [{"class": name, "probability": probability} for name, probability in ranked[: self.top]],
        }


def _refuse(error: OSError | TypeError | UnicodeError, host: str, port: int) -> NoReturn:
    """Say why a server cannot listen."""
    number, reason = (error.errno, error.strerror) if isinstance(error, OSError) else (None, "not a name")
    if number == errno.EADDRINUSE:
        raise UsageError(
            f"port={port} is in use by another program; choose another, or port=0 for a free one"
        ) from None
    if number == errno.EACCES:
        raise UsageError(f"port={port} needs the rights of an administrator; choose one above 1023") from None
    raise UsageError(
        f"host={host} is not an address of this machine ({reason or error}); expected 127.0.0.1, or 0.0.0.0 for all of "
        "its addresses"
    ) from None


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: PredictionServer
    protocol_version = "HTTP/1.1"
    timeout = SECONDS
    server_version, sys_version = "cellnas", ""
    error_message_format, error_content_type = "%(message)s\n", "text/plain; charset=utf-8"
    TEXT: ClassVar[str] = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """Send the page, its parts, or what it says of the model."""
        if not self._is_own():
            return
        path = urlsplit(self.path).path
        if path == "/model.json":
            self._send_json(self.server.about())
        elif path in PAGE:
            name, content_type = PAGE[path]
            self._send(HTTPStatus.OK, files("nas.serve").joinpath("page", name).read_bytes(), content_type)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no page {path}; expected /")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Label the picture that the request carries."""
        if not self._is_own():
            return
        if urlsplit(self.path).path != "/predict":
            self._refuse(HTTPStatus.NOT_FOUND, "expected /predict")
        elif self.headers.get("Content-Type") != PICTURE_TYPE:
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected a picture as {PICTURE_TYPE}")
        elif not (length := self.headers.get("Content-Length", "")).isascii() or not length.isdigit():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "expected a picture with its Content-Length")
        elif int(length) > MAX_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_BYTES} bytes, got {length}")
        else:
            data = self.rfile.read(int(length))
            if len(data) < int(length):  # the client has gone
                self.close_connection = True
            else:
                self._send_json(self.server.label(data))

    def _is_own(self) -> bool:
        """Whether a request comes from the page of this server, or from no page; refuses it otherwise."""
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        if not self.server.accepts_host(host):
            self._refuse(HTTPStatus.FORBIDDEN, f"this server is not {host}; open {self.server.url}")
        elif origin is not None and origin != f"http://{host}":
            self._refuse(HTTPStatus.FORBIDDEN, "pages of other sites may not use this server")
        else:
            return True
        return False

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Send a sentence, and end the connection, since the rest of the request was not read."""
        self.close_connection = True
        self._send(status, f"{reason}\n".encode(), self.TEXT)

    def _send_json(self, content: Mapping[str, Any]) -> None:
        self._send(HTTPStatus.OK, json.dumps(content).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def end_headers(self) -> None:
        """Add the headers that every answer has."""
        for name, value in SECURITY_HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: what was asked is nobody's business."""
