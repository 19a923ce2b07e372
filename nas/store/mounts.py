"""Whether a path is on a file system of the network, where SQLite's locks and shared memory do not work."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|ncpfs|afs|9p|lustre|beegfs\w*|gpfs|ceph|glusterfs|orangefs|pvfs2|panfs|davfs|wekafs|"
    r"fuse\.(sshfs|ceph\S*|gluster\S*|s3fs|rclone|gcsfuse|goofys|mount-s3|juicefs|davfs\S*|smb\S*|beegfs\S*|\S*nfs\S*)"
)
"""Types of file systems that other machines may mount at the same time."""


def network_file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the network file system that a path is on; None if it is on a local one, or not known.

    Args:
        path: File or folder; it need not exist.
        mounts: Table of mounts in the form of Linux's `/proc/self/mountinfo`.
    """
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return None
    resolved = path.resolve()
    deepest, kind = -1, ""
    for line in lines:
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # the later of two mounts on one folder hides the earlier
        if resolved.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), after.split(" ")[0]
    return kind if NETWORK.fullmatch(kind) else None
