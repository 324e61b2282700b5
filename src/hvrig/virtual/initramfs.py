"""root-linux's file system on the virtual board: what is in it, and the archive that the kernel unpacks."""

from __future__ import annotations

import gzip
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass

_EXECUTABLE = 0o755
_PRIVATE = 0o600

# The boot of root-linux. QEMU's user network answers SSH connections to the machine that it last heard from, and
# that was U-Boot, under another hardware address: one ping makes Linux known.
_RC = """\
#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mkdir -p /dev/pts
/bin/busybox mount -t devpts devpts /dev/pts
/bin/busybox --install -s /bin
hostname virtual
while read -r module; do insmod "/lib/modules/$module.ko"; done </lib/modules/order
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
ping -c 1 -w 5 10.0.2.2 >/dev/null
dropbear -s -r /etc/dropbear/host_key
"""

_INITTAB = """\
::sysinit:/etc/rc
ttyAMA0::respawn:-/bin/sh
"""

_PROFILE = """\
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
export PS1='root@virtual:$PWD# '
cd /
"""


@dataclass(frozen=True)
class Entry:
    """One file of the archive. mode: with its type bits. device: major and minor of a device node."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(mode: int = _EXECUTABLE) -> Entry:
    """A directory."""
    return Entry(stat.S_IFDIR | mode)


def file(data: bytes, mode: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(stat.S_IFREG | mode, data)


def link(target: str) -> Entry:
    """A symbolic link."""
    return Entry(stat.S_IFLNK | 0o777, target.encode())


@dataclass(frozen=True)
class Programs:
    """What comes from Debian's arm64 packages: contents of files.

    dash: the shell, since busybox's asks the terminal for its cursor (ESC[6n) at each prompt.
    libraries: by their names as dropbear and memtester look for them (`libc.so.6`).
    modules: by name, without `.ko`.
    """

    busybox: bytes
    dash: bytes
    memtester: bytes
    dropbear: bytes
    loader: bytes
    libraries: Mapping[str, bytes]
    modules: Mapping[str, bytes]


def contents(programs: Programs, *, host_key: bytes, authorized_key: str) -> dict[str, Entry]:
    """The files of the archive by path.

    host_key: in dropbear's own format (`dropbear_host_key`). authorized_key: one line of authorized_keys.
    """
    entries = {
        "dev": directory(),
        # Opened by the kernel before the first program runs, and there is no devtmpfs yet.
        "dev/console": Entry(stat.S_IFCHR | _PRIVATE, device=(5, 1)),
        **{name: directory() for name in ("bin", "etc", "etc/dropbear", "lib", "lib/modules", "proc", "run", "sys")},
        **{name: directory() for name in ("usr", "usr/sbin", "var", "var/run")},
        "tmp": directory(0o1777),
        "root": directory(0o700),
        "root/.ssh": directory(0o700),
        "root/.ssh/authorized_keys": file(f"{authorized_key}\n".encode(), _PRIVATE),
        "init": link("/bin/busybox"),
        "bin/sh": file(programs.dash, _EXECUTABLE),
        "bin/busybox": file(programs.busybox, _EXECUTABLE),
        "usr/sbin/memtester": file(programs.memtester, _EXECUTABLE),
        "usr/sbin/dropbear": file(programs.dropbear, _EXECUTABLE),
        "lib/ld-linux-aarch64.so.1": file(programs.loader, _EXECUTABLE),
        "etc/dropbear/host_key": file(host_key, _PRIVATE),
        "etc/inittab": file(_INITTAB.encode()),
        "etc/rc": file(_RC.encode(), _EXECUTABLE),
        "etc/profile": file(_PROFILE.encode()),
        "etc/passwd": file(b"root:*:0:0:root:/root:/bin/sh\n"),
        "etc/group": file(b"root:x:0:\n"),
        "lib/modules/order": file("".join(f"{name}\n" for name in load_order(programs.modules)).encode()),
    }
    entries.update((f"lib/{name}", file(data, _EXECUTABLE)) for name, data in programs.libraries.items())
    entries.update((f"lib/modules/{name}.ko", file(data)) for name, data in programs.modules.items())
    return entries


def load_order(modules: Mapping[str, bytes]) -> list[str]:
    """Module names so that each comes after those it depends on, by the `depends=` of its modinfo section.

    Raises ValueError when a module needs one that is not among them.
    """
    order: list[str] = []

    def add(name: str, needed_by: str) -> None:
        if name in order:
            return
        if name not in modules:
            raise ValueError(f"kernel module {needed_by} needs {name}, which is not in the list")
        found = re.search(rb"\0depends=([\w,-]*)\0", modules[name])
        for needed in found[1].decode().split(",") if found and found[1] else []:
            add(needed.replace("-", "_"), name)
        order.append(name)

    for name in sorted(modules):
        add(name, name)
    return order


def archive(entries: Mapping[str, Entry]) -> bytes:
    """A gzip-compressed cpio archive, format `newc` (the kernel's Documentation, initramfs buffer format).

    Written here and not by cpio, since device nodes and root's ownership need no root this way. The same
    entries give the same bytes. Parents must come before their children.
    """
    parts = [_member(number, name, entry) for number, (name, entry) in enumerate(entries.items(), start=1)]
    parts.append(_member(0, "TRAILER!!!", Entry(0)))
    return gzip.compress(b"".join(parts), compresslevel=9, mtime=0)


def _member(number: int, name: str, entry: Entry) -> bytes:
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device of the file, device that a node stands for, name's size, check
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def dropbear_host_key(private: bytes, public: bytes) -> bytes:
    """An ed25519 host key as dropbear 2022.83 reads it: name, then private and public key as one string.

    private, public: 32 bytes each. Strings are SSH's (RFC 4251): a 32-bit length, then the bytes.
    """
    return b"".join(len(text).to_bytes(4, "big") + text for text in (b"ssh-ed25519", private + public))
