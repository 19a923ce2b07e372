"""SQLite files on network file systems."""

from pathlib import Path

import pytest
from conftest import filled

from nas import UsageError
from nas.store.base import Run
from nas.store.mounts import network_file_system

MOUNTS = """
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:50 / /home rw - nfs4 server:/home rw
41 40 254:1 / /home/me/local\\040disk rw - xfs /dev/vdb rw
42 22 0:51 / /scratch rw - lustre mgs@tcp:/fs rw
43 22 0:52 / /mnt/c rw - 9p drvfs rw
44 22 0:53 / /s3 rw - fuse.sshfs host: rw
45 22 0:54 / /mnt/usb rw - fuseblk /dev/sdb rw
46 22 0:55 / /share rw - ext4 /dev/vdc rw
47 22 0:56 / /share rw - cifs //host/share rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/nas.db", "nfs4"),
        ("/home/me/local disk/nas.db", None),
        ("/homes/nas.db", None),
        ("/scratch/a/b/nas.db", "lustre"),
        ("/mnt/c/nas.db", "9p"),
        ("/s3/nas.db", "fuse.sshfs"),
        ("/mnt/usb/nas.db", None),
        ("/share/nas.db", "cifs"),
        ("/tmp/nas.db", None),
    ],
)
def test_network_file_systems_are_found_by_the_deepest_mount(tmp_path, path, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert network_file_system(Path(path), mounts) == kind
    assert network_file_system(Path(path), tmp_path / "none") is None


def test_a_file_on_a_network_file_system_is_read_and_not_written(store, trial, monkeypatch):
    filled(store, trial)
    monkeypatch.setattr("nas.store.sqlite.network_file_system", lambda _path: "nfs4")
    assert len(store.trials("first")) == 4
    for use in (store.prepare, lambda: store.open(Run("first", 0)).__enter__()):
        with pytest.raises(UsageError, match=r"is on a network file system \(nfs4\).*or to a PostgreSQL server"):
            use()
