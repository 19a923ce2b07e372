"""The address of a Ray cluster that runs: where its head node answers, and whether it asks for a token.

Ray does not negotiate tokens. A process with one refuses the calls of a cluster without one, and the other way round;
Ray then says nothing, or tries for minutes. So the cluster is asked first, with a call that Ray's own
client makes.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nas.errors import UsageError, UserError

PROBE_SECONDS = 5.0
"""Longest wait for an answer of a cluster's head node; Ray's own retries take minutes."""
QUESTION = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"
"""A method of every head node, which changes nothing."""
MODE = "RAY_AUTH_MODE"
"""Environment variable that says whether a process sends a token and wants one: `token` or `disabled`."""


def head_of(address: str, key: str) -> str:
    """The `host:port` of a head node that answers; from then on this process sends a token if the cluster wants one.

    Args:
        address: `auto` (the cluster of this machine, or `RAY_ADDRESS`) or `host:port`.
        key: Setting that holds the address, for messages.

    Raises:
        UserError: No Ray answers, or `RAY_AUTH_MODE` contradicts the cluster.
        UsageError: The address is none.
    """
    check_address(address, key)
    head = _of_this_machine(key) if address == "auto" else address
    wants_token = _wants_token(head)
    if wants_token is None:
        raise UserError(
            f"no Ray cluster answers at {head} ({key}={address}); start it with ray start --head "
            f"--port={head.rpartition(':')[2]}, or correct the address"
        )
    if not _uses_tls():
        _set_mode(head, wants_token=wants_token)
    _reread_mode()
    return head


def answers(head: str) -> bool:
    """Whether a head node answers.

    Args:
        head: Its `host:port`.
    """
    return _wants_token(head) is not None


@contextmanager
def mode_restored() -> Iterator[None]:
    """Give the variable for tokens its value from before the block: Ray sets it for its own cluster, and for good."""
    before = os.environ.get(MODE)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(MODE, None)
        else:
            os.environ[MODE] = before
        _reread_mode()


def _uses_tls() -> bool:
    return os.environ.get("RAY_USE_TLS", "0") == "1"  # only Ray itself can then call the head node


def _set_mode(head: str, *, wants_token: bool) -> None:
    """Let this process send a token if the cluster wants one, and none otherwise.

    Raises:
        UserError: The user has chosen the other mode, or has no token, or another one.
    """
    mode = "token" if wants_token else "disabled"
    chosen = os.environ.setdefault(MODE, mode)
    if chosen.lower() != mode:
        raise UserError(
            f"the Ray cluster at {head} {'wants a token' if wants_token else 'has no tokens'}, but {MODE}={chosen}; "
            f"set {MODE}={mode}, or unset it"
        )
    if wants_token:
        _check_token(head)


def _of_this_machine(key: str) -> str:
    from ray._private import services

    try:
        return str(services.canonicalize_bootstrap_address_or_die("auto"))
    except ConnectionError:
        raise UserError(
            f"{key}=auto found no Ray cluster of this machine; start one with ray start --head, set "
            f"{key}=host:port, or set {key}=null to start one for this command only"
        ) from None


def check_address(address: object, key: str) -> None:
    """Raise `UsageError` with the key unless `address` is `auto`, None or `host:port`."""
    if address in (None, "auto"):
        return
    host, colon, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536) or "/" in host:
        raise UsageError(f"{key} must be auto, null or host:port, got {address!r}")


def _wants_token(head: str) -> bool | None:
    """Whether a head node refuses a call without a token; None if no Ray answers there."""
    host, _, port = head.rpartition(":")
    if _uses_tls():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
        except OSError:
            return None
        return os.environ.get(MODE, "").lower() == "token"
    answer = _answer(head)
    return None if answer is None else not answer


def _answer(head: str, metadata: Sequence[tuple[str, str]] = ()) -> bool | None:
    """Whether a head node accepts a call; False if it wants another token than the metadata have, None without one."""
    import grpc

    with grpc.insecure_channel(head, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call: Any = channel.unary_unary(QUESTION)
        try:
            call(b"", timeout=PROBE_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            code: Any = error
            return False if code.code() == grpc.StatusCode.UNAUTHENTICATED else None
    return True


def _check_token(head: str) -> None:
    """Raise `UserError` if this machine has no token, or not that of the cluster; Ray would try for 20 seconds."""
    token = _token()
    if token is None or not _answer(head, [("authorization", f"Bearer {token}")]):
        found = "this machine has none" if token is None else "that of this machine is another one"
        raise UserError(
            f"the Ray cluster at {head} wants a token, and {found}; copy ~/.ray/auth_token from its head node, or set "
            "RAY_AUTH_TOKEN"
        )


def _token() -> str | None:
    """The token that Ray would send: of `RAY_AUTH_TOKEN`, of `RAY_AUTH_TOKEN_PATH`, or of the home directory."""
    raylet: Any = importlib.import_module("ray._raylet")
    loader = raylet.AuthenticationTokenLoader.instance()
    return str(loader.get_raw_token(ignore_auth_mode=True)) if loader.has_token(ignore_auth_mode=True) else None


def _reread_mode() -> None:
    """Let a Ray that is imported already see the variable, which it reads once."""
    raylet: Any = sys.modules.get("ray._raylet")
    if hasattr(raylet, "AuthenticationTokenLoader"):  # not in versions without tokens
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
