"""Every store keeps the same promises, so a search does not depend on where its trials are."""

import pytest

from nas.store.by_url import store_at
from nas.store.memory import MemoryStore
from nas.testing.stores import store_promises


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def make(request, tmp_path):
    """Opens a store of each kind, which is empty at first."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    if request.param == "sqlite":
        return lambda: store_at(f"sqlite:///{tmp_path}/nas.db")
    server = request.getfixturevalue("postgres")
    url = server.url(server.database())
    return lambda: store_at(url, unstored=str(tmp_path))


@pytest.mark.parametrize("text", [promise.text for promise in store_promises(MemoryStore)])
def test_a_store_keeps_its_promises(make, text):
    promises = {promise.text: promise for promise in store_promises(make)}
    promises[text].check()
