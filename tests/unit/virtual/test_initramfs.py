from __future__ import annotations

import gzip
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.virtual.initramfs import Entry, Programs, archive, contents, directory, dropbear_host_key, file, load_order


def unpack(data: bytes) -> dict[str, Entry]:
    """Read a newc archive by the letter of its description; raises when something is left or out of place."""
    data, at = gzip.decompress(data), 0
    entries: dict[str, Entry] = {}
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        _, mode, uid, gid, _, mtime, size, _, _, major, minor, name_size, check = fields
        assert (uid, gid, mtime, check) == (0, 0, 0, 0)
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        assert data[at + 110 + name_size - 1] == 0
        start = -(-(at + 110 + name_size) // 4) * 4
        at = -(-(start + size) // 4) * 4
        if name == "TRAILER!!!":
            assert at == len(data)
            return entries
        entries[name] = Entry(mode, data[start : start + size], (major, minor))


def programs() -> Programs:
    return Programs(
        busybox=b"busybox",
        dash=b"dash",
        memtester=b"memtester",
        dropbear=b"dropbear",
        loader=b"ld",
        libraries={"libc.so.6": b"c"},
        modules={"virtio_net": b"\0depends=virtio\0", "virtio": b"\0depends=\0"},
    )


@given(st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1), st.binary()))
def test_an_archive_holds_what_was_put_in(files: dict[str, bytes]) -> None:
    entries = {name: file(data) for name, data in files.items() if name != "TRAILER!!!"}
    assert unpack(archive(entries)) == entries


def test_the_same_entries_give_the_same_bytes() -> None:
    entries = contents(programs(), host_key=b"key", authorized_key="ssh-ed25519 AAAA")
    assert archive(entries) == archive(entries)
    assert unpack(archive(entries)) == entries


def test_root_linux_has_what_it_boots_with() -> None:
    entries = contents(programs(), host_key=b"key", authorized_key="ssh-ed25519 AAAA")
    assert entries["dev/console"] == Entry(stat.S_IFCHR | 0o600, device=(5, 1))
    assert entries["init"].data == b"/bin/busybox"
    assert entries["lib/modules/order"].data == b"virtio\nvirtio_net\n"
    assert entries["root/.ssh/authorized_keys"] == Entry(stat.S_IFREG | 0o600, b"ssh-ed25519 AAAA\n")
    assert entries["root"] == directory(0o700)  # dropbear wants it to be root's alone


def test_parents_come_before_children() -> None:
    seen: set[str] = set()
    for name in contents(programs(), host_key=b"", authorized_key=""):
        parent = name.rpartition("/")[0]
        assert not parent or parent in seen
        seen.add(name)


def test_modules_are_loaded_after_what_they_depend_on() -> None:
    modules = {
        "failover": b"\0depends=\0",
        "net_failover": b"license=GPL\0depends=failover\0name=net_failover\0",
        "virtio": b"\0depends=\0",
        "virtio_net": b"\0depends=virtio,net-failover\0",
    }
    order = load_order(modules)
    assert sorted(order) == sorted(modules)
    assert order.index("failover") < order.index("net_failover") < order.index("virtio_net")
    assert order.index("virtio") < order.index("virtio_net")


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="virtio_net needs net_failover"):
        load_order({"virtio_net": b"\0depends=net_failover\0"})


def test_dropbears_host_key_is_name_then_both_halves() -> None:
    key = dropbear_host_key(b"p" * 32, b"q" * 32)
    assert key == b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x40" + b"p" * 32 + b"q" * 32
