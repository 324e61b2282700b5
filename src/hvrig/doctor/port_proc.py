"""What Linux tells of a serial port: its device node, /proc and /sys (edge: proc(5), sysfs(5))."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hvrig.doctor.port import Access, Adapter, Connection, Holder, parse_connections

_COMMAND = 80  # characters of a command line that are shown

_MODE = 0o777


def access_to(device: str, by_id: Path = Path("/dev/serial/by-id")) -> Access:
    """Who may open the device node."""
    path = Path(device)
    others = tuple(sorted(str(link) for link in by_id.glob("*")))
    try:
        found = path.stat()
    except OSError:
        return Access(device, exists=False, others=others)
    user, group = _user_name(os.geteuid()), _group_name(found.st_gid)
    return Access(
        device,
        exists=True,
        is_device=stat.S_ISCHR(found.st_mode),
        owner=_user_name(found.st_uid),
        group=group,
        mode=found.st_mode & _MODE,
        user=user,
        may_open=os.access(path, os.R_OK | os.W_OK),
        member=_is_member(user, found.st_gid),
        others=others,
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_member(user: str, gid: int) -> bool:
    try:
        return user in grp.getgrgid(gid).gr_mem or pwd.getpwnam(user).pw_gid == gid
    except KeyError:
        return False


def device_holders(device: str, proc: Path = Path("/proc")) -> tuple[tuple[Holder, ...], int]:
    """The processes, but for this one, that have the device open; and how many may not be looked into."""
    real = os.path.realpath(device)
    return _holders(lambda target: target == real, proc)


def socket_holders(connections: Sequence[Connection], proc: Path = Path("/proc")) -> tuple[tuple[Holder, ...], int]:
    """The processes, but for this one, that have one of these connections' sockets; and how many are unseen."""
    links = {f"socket:[{connection.inode}]" for connection in connections if connection.inode}
    return _holders(links.__contains__, proc)


def _holders(wanted: Callable[[str], bool], proc: Path) -> tuple[tuple[Holder, ...], int]:
    holders, unseen = [], 0
    for folder in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        if int(folder.name) == os.getpid():
            continue
        try:
            links = list((folder / "fd").iterdir())
        except PermissionError:
            unseen += 1
            continue
        except OSError:  # it has ended meanwhile
            continue
        if any(wanted(_target(link)) for link in links):
            holders.append(Holder(int(folder.name), _command(folder)))
    return tuple(holders), unseen


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _command(folder: Path) -> str:
    try:
        words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return words if len(words) <= _COMMAND else words[:_COMMAND] + "..."


def established(proc: Path = Path("/proc")) -> tuple[Connection, ...]:
    """The TCP connections of this machine."""
    found: list[Connection] = []
    for name in ("tcp", "tcp6"):
        with suppress(OSError):  # a kernel without IPv6
            found += parse_connections((proc / "net" / name).read_text(encoding="ascii"))
    return tuple(found)


def adapter_of(device: str, sys: Path = Path("/sys")) -> Adapter:
    """The driver of a tty, and its latency timer: /sys/bus/usb-serial/devices/ttyUSB0/latency_timer."""
    tty = Path(os.path.realpath(device)).name
    here = sys / "bus/usb-serial/devices" / tty
    if not here.exists():
        # cdc_acm and its like: a USB device, but none of the usb-serial bus
        driver = sys / "class/tty" / tty / "device/driver"
        is_usb = (sys / "class/tty" / tty / "device/bInterfaceNumber").exists()
        return Adapter(os.path.realpath(driver).rpartition("/")[2] if is_usb and driver.exists() else "", None, tty)
    name = os.path.realpath(here / "driver").rpartition("/")[2] if (here / "driver").exists() else "usb-serial"
    try:
        latency = int((here / "latency_timer").read_text(encoding="ascii"))
    except (OSError, ValueError):
        latency = None
    return Adapter(name, latency, tty)
