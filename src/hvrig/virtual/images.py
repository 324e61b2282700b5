"""What the virtual board boots from, built once into the cache: U-Boot, stand-in hypervisor, kernel, root-linux.

`python -m hvrig.virtual.images [--cache DIR]` builds what is missing and prints the folder.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hvrig.model.errors import HvrigError, LabError, UsageError
from hvrig.virtual import initramfs
from hvrig.virtual.machine import LAYOUT, QEMU, VIRTUAL, Layout, Machine
from hvrig.virtual.toolchain_subprocess import run

_STANDIN = Path(__file__).with_name("standin")
# All that decides what is built, besides the tools: the digest is taken over these.
_SOURCES = (
    *(Path(__file__).with_name(name) for name in ("images.py", "initramfs.py", "machine.py")),
    *(_STANDIN / name for name in ("entry.S", "console.c", "memory.c", "main.c", "standin.h", "standin.ld")),
)
_TOOL_PACKAGES = ("device-tree-compiler", "gcc-aarch64-linux-gnu", "qemu-system-arm", "u-boot-qemu", "u-boot-tools")
_DPKG_STATUS = Path("/var/lib/dpkg/status")
_UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")

_KERNEL_PACKAGE = "linux-image-cloud-arm64"  # a name for the newest kernel of the release
_PACKAGES = (
    *("busybox-static", "dash", "memtester", "dropbear-bin"),
    *("libc6", "libcrypt1", "libgmp10", "libtomcrypt1", "libtommath1", "zlib1g"),
)
_LIBRARIES = ("libc.so.6", "libcrypt.so.1", "libgmp.so.10", "libtomcrypt.so.1", "libtommath.so.1", "libz.so.1")
_LOADER = "ld-linux-aarch64.so.1"
_MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_mmio"),
    *("failover", "net_failover", "virtio_net"),
)

_TOOL_S = 60.0
_DOWNLOAD_S = 300.0
# Image sets of other checkouts or earlier sources are kept for as long as somebody uses them now and then.
_UNUSED_S = 30 * 86400.0

_CFLAGS = (
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-fno-pie", "-no-pie"),
    # EL2 runs without MMU: no unaligned access, no vector registers, and no memset to call.
    *("-mgeneral-regs-only", "-mstrict-align", "-mno-outline-atomics", "-fno-tree-loop-distribute-patterns"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--no-warn-rwx-segments"),
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class ImageSet:
    """A complete set of images; `folder` is `<cache>/images/<digest of all inputs>`."""

    folder: Path

    @property
    def uboot(self) -> Path:
        """U-Boot, QEMU's firmware."""
        return self.folder / "u-boot.bin"

    @property
    def tftp(self) -> Path:
        """The folder that U-Boot fetches from; nothing else lies in it."""
        return self.folder / "tftp"

    @property
    def kernel(self) -> Path:
        """Linux, an arm64 `Image`."""
        return self.tftp / "Image"

    @property
    def initrd(self) -> Path:
        """root-linux's file system."""
        return self.tftp / "initrd.gz"

    @property
    def board_dtb(self) -> Path:
        """The machine's device tree, as `bootm` gives it to the hypervisor."""
        return self.tftp / "board.dtb"

    @property
    def hvisor(self) -> Path:
        """The stand-in hypervisor as a legacy uImage."""
        return self.tftp / "hvisor.bin"

    @property
    def hvisor_elf(self) -> Path:
        """The stand-in hypervisor with its symbols (`skernel`, `__core_end`, `__hv_end`)."""
        return self.folder / "hvisor.elf"

    @property
    def client_key(self) -> Path:
        """The private key that root-linux lets in, in OpenSSH's format."""
        return self.folder / "ssh" / "id_ed25519"

    @property
    def host_key_pub(self) -> Path:
        """root-linux's public host key, `ssh-ed25519 AAAA...`."""
        return self.folder / "ssh" / "host_key.pub"

    def zone0_dtb(self, reserved_bytes: int | None) -> Path:
        """root-linux's device tree with so many bytes reserved from the hypervisor's start on; None for all of it.

        `tftp/zone0-all.dtb`, `tftp/zone0-4M.dtb`; written when first asked for.
        Raises UsageError when the size is not whole pages within the hypervisor's memory.
        """
        target = self.tftp / zone0_name(reserved_bytes)
        if not target.exists():
            tree = run(["dtc", "-q", "-I", "dtb", "-O", "dts", str(self.board_dtb)], _TOOL_S, "reading board.dtb")
            changes = zone0_changes(LAYOUT, reserved_bytes, self.initrd.stat().st_size)
            compiled = run(
                ["dtc", "-q", "-I", "dts", "-O", "dtb", "-"],
                _TOOL_S,
                f"compiling {target.name}",
                stdin=tree + changes.encode(),
            )
            _write_atomically(target, compiled)
        return target


def zone0_name(reserved_bytes: int | None) -> str:
    """The file name of the device tree with this reservation: `zone0-all.dtb`, `zone0-4M.dtb`, `zone0-1740K.dtb`."""
    if reserved_bytes is None:
        return "zone0-all.dtb"
    if reserved_bytes <= 0 or reserved_bytes % 4096 or reserved_bytes > LAYOUT.full_reservation:
        raise UsageError(
            f"{reserved_bytes} bytes cannot be reserved for the hypervisor",
            f"give whole 4 KiB pages, at most {LAYOUT.full_reservation >> 20}M, or all",
        )
    if reserved_bytes % (1 << 20):
        return f"zone0-{reserved_bytes >> 10}K.dtb"
    return f"zone0-{reserved_bytes >> 20}M.dtb"


def zone0_changes(layout: Layout, reserved_bytes: int | None, initrd_size: int) -> str:
    """What makes root-linux's device tree out of the board's, as source that dtc merges into it.

    The initrd's end follows its size, or the kernel would not find it. QEMU's seeds in `chosen` stay: Linux has
    random numbers at once, the same ones at each boot, which is good enough for a board on loopback.
    """
    reserved = layout.full_reservation if reserved_bytes is None else reserved_bytes
    banks = " ".join(f"{_cells(bank.start)} {_cells(bank.size)}" for bank in (layout.zone_low, layout.zone_high))
    return f"""
/ {{
    memory@{layout.zone_low.start:x} {{
        reg = <{banks}>;
    }};
    reserved-memory {{
        #address-cells = <2>;
        #size-cells = <2>;
        ranges;
        hvisor@{layout.load_address:x} {{
            no-map;
            reg = <{_cells(layout.load_address)} {_cells(reserved)}>;
        }};
    }};
    chosen {{
        bootargs = "earlycon console=ttyAMA0 loglevel=7 panic=0 ipv6.disable=1";
        linux,initrd-start = <{_cells(layout.initrd)}>;
        linux,initrd-end = <{_cells(layout.initrd + initrd_size)}>;
    }};
}};
"""


def _cells(value: int) -> str:
    return f"{value >> 32:#x} {value & 0xFFFF_FFFF:#x}"


def default_cache() -> Path:
    """`${XDG_CACHE_HOME:-~/.cache}/hvrig`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hvrig"


def find_images(cache: Path) -> ImageSet | None:
    """The images of the current inputs, if they were built already."""
    images = ImageSet(cache / "images" / _digest())
    if not images.folder.is_dir():
        return None
    with suppress(OSError):  # another user's cache can be used as well
        os.utime(images.folder)  # in use: see _prune
    return images


def ensure_images(cache: Path, say: Say) -> ImageSet:
    """The images of the current inputs, built if they are not there.

    say: told in a few words what is being done. Only building needs the network, and only when Debian's arm64
    packages were never downloaded into this cache. Two processes may build at once: the first one's set stays.
    Raises UsageError for a tool that is not installed, LabError when a step fails.
    """
    found = find_images(cache)
    if found is not None:
        return found
    folder = cache / "images" / _digest()
    try:
        packages = _ensure_packages(cache / "packages", say)
        say("building the virtual board's images")
        with _new_folder(folder) as new:
            _build(new, packages, say)
        _prune(cache / "images", keep=folder)
    except OSError as error:
        raise LabError(
            f"building the virtual board's images: {error}", f"see to space and rights in {cache}"
        ) from error
    return ImageSet(folder)


@functools.cache
def _digest() -> str:
    digest = hashlib.sha256()
    for source in _SOURCES:
        digest.update(source.read_bytes() + b"\0")
    digest.update(_installed_versions(_read_dpkg_status()).encode())
    return digest.hexdigest()[:16]


def _read_dpkg_status() -> bytes:
    try:
        return _DPKG_STATUS.read_bytes()
    except OSError:
        return b""  # not Debian: the tools themselves will say what is missing


def _installed_versions(status: bytes) -> str:
    """`package version` a line, of the packages whose tools decide what is built, as dpkg's status file has them."""
    lines = []
    for package in _TOOL_PACKAGES:
        start = (b"\n" + status).find(b"\nPackage: %s\n" % package.encode())
        paragraph = status[start:].partition(b"\n\n")[0] if start >= 0 else b""
        version = re.search(rb"^Version: (.*)$", paragraph, re.MULTILINE)
        lines.append(f"{package} {version[1].decode(errors='replace') if version else '-'}\n")
    return "".join(lines)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` to build in, renamed to it at the end unless another process was first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        yield new
        new.chmod(0o755)
        try:
            new.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write_atomically(target: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=target.parent)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        os.fchmod(out.fileno(), 0o644)
    Path(name).replace(target)


def _prune(images: Path, keep: Path) -> None:
    """Remove sets that nobody has used for a month, and what interrupted builds have left."""
    oldest = time.time() - _UNUSED_S
    for folder in images.iterdir():
        if folder != keep and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)


# --- Debian's arm64 packages


# Everything that apt writes goes into the folder; the host's sources, keys and proxy settings are used as they are,
# its hooks (which write elsewhere) are not. dpkg's status is empty: what is installed on the host does not count.
# As root, apt would fetch as user _apt, who may not write here.
_APT_CONF = """\
APT::Architecture "arm64";
#clear APT::Architectures;
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
Dir::State::Lists "{folder}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
"""


def _ensure_packages(folder: Path, say: Say) -> Path:
    """The folder with the unpacked arm64 packages (`root`) and their file names (`packages.json`).

    Downloaded once: the same packages serve every later build, so that a changed source needs no network.
    """
    names = hashlib.sha256(repr((_KERNEL_PACKAGE, _PACKAGES)).encode()).hexdigest()[:16]
    target = folder / names
    if target.is_dir():
        return target
    say("downloading Debian's arm64 packages, 26 MB")
    with _new_folder(target) as new:
        debs = _download(new)
        for deb in debs:
            run(["dpkg-deb", "-x", str(deb), str(new / "root")], _TOOL_S, f"unpacking {deb.name}")
        (new / "packages.json").write_text(json.dumps([deb.name for deb in debs], indent=1) + "\n")
        shutil.rmtree(new / "apt")
    return target


def _download(folder: Path) -> list[Path]:
    apt = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial", "debs"):
        (apt / name).mkdir(parents=True)
    conf = apt / "apt.conf"
    conf.write_text(_APT_CONF.format(folder=apt))
    remedy = "connect this machine to its Debian mirror; the images are built once, later runs need no network"
    update_failed = ""
    try:
        run(["apt-get", "-qq", "-c", str(conf), "update"], _DOWNLOAD_S, "reading Debian's package lists", remedy=remedy)
    except LabError as error:
        update_failed = f"\nbefore that, {error.message}"  # of a source that holds none of these packages, perhaps
    try:
        depends = run(
            ["apt-cache", "-c", str(conf), "depends", _KERNEL_PACKAGE], _TOOL_S, "choosing a kernel", remedy=remedy
        )
        kernel = re.search(r"Depends: (linux-image-[\w.+-]+)", depends.decode())
        if kernel is None:
            raise LabError(f"choosing a kernel: {_KERNEL_PACKAGE} depends on none", remedy)
        run(
            ["apt-get", "-qq", "-c", str(conf), "download", kernel[1], *_PACKAGES],
            _DOWNLOAD_S,
            "downloading Debian's arm64 packages",
            cwd=apt / "debs",
            remedy=remedy,
        )
    except LabError as error:
        raise LabError(error.message + update_failed, error.remedy) from None
    return sorted((apt / "debs").glob("*.deb"))


# --- building


def _build(folder: Path, packages: Path, say: Say) -> None:
    images = ImageSet(folder)
    images.tftp.mkdir()
    if not _UBOOT.is_file():
        raise UsageError(f"{_UBOOT} is not there", "install the Debian package u-boot-qemu, or run ./scripts/setup")
    shutil.copyfile(_UBOOT, images.uboot)
    root = packages / "root"
    shutil.copyfile(_only(root, "boot/vmlinuz-*"), images.kernel)
    say("stand-in hypervisor")
    build_hypervisor(LAYOUT, images.hvisor_elf, images.hvisor)
    say("root-linux")
    host_key, authorized = _make_keys(images)
    entries = initramfs.contents(_programs(root), host_key=host_key, authorized_key=authorized)
    images.initrd.write_bytes(initramfs.archive(entries))
    say("device trees")
    images.board_dtb.write_bytes(dump_device_tree(VIRTUAL, images.uboot))
    images.zone0_dtb(None)
    shutil.copyfile(packages / "packages.json", folder / "packages.json")


def dump_device_tree(machine: Machine, uboot: Path) -> bytes:
    """The device tree that QEMU gives this machine's firmware. Raises LabError."""
    arguments = machine.arguments(uboot)
    board = arguments.index("-machine") + 1
    # In a folder of its own, whose name needs no mention: a comma in it would end the value.
    arguments[board] += ",dumpdtb=board.dtb"
    with tempfile.TemporaryDirectory(prefix="hvrig-") as folder:
        run(
            [QEMU, *arguments, "-display", "none", "-nic", "none"],
            _TOOL_S,
            "reading QEMU's device tree",
            cwd=Path(folder),
        )
        return (Path(folder) / "board.dtb").read_bytes()


def build_hypervisor(layout: Layout, elf: Path, uimage: Path) -> None:
    """Build the stand-in hypervisor for a layout: its ELF, and the uImage that `bootm` takes. Raises LabError."""
    parameters = layout.build_parameters()
    definitions = [
        flag
        for name, value in parameters.items()
        for flag in (f"-D{name}={value:#x}", f"-Wl,--defsym,{name}={value:#x}")
    ]
    raw = elf.with_suffix(".raw")
    sources = [str(source) for source in _SOURCES if source.suffix in (".S", ".c")]
    script = str(_STANDIN / "standin.ld")
    run(
        ["aarch64-linux-gnu-gcc", *_CFLAGS, *definitions, "-T", script, "-o", str(elf), *sources],
        _TOOL_S,
        "compiling the stand-in hypervisor",
    )
    run(
        ["aarch64-linux-gnu-objcopy", "-O", "binary", str(elf), str(raw)],
        _TOOL_S,
        "extracting the stand-in hypervisor",
    )
    address = f"{layout.load_address:#x}"
    run(
        [
            *("mkimage", "-A", "arm64", "-O", "linux", "-C", "none", "-T", "kernel", "-n", "hvisor_img"),
            *("-a", address, "-e", address, "-d", str(raw), str(uimage)),
        ],
        _TOOL_S,
        "wrapping the stand-in hypervisor",
    )
    raw.unlink()


def _make_keys(images: ImageSet) -> tuple[bytes, str]:
    """Write the SSH keys; returns the host key for dropbear and the line of authorized_keys."""
    # Imported here: it is slow, and a set that is already there must be found at once.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    client, host = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    images.client_key.parent.mkdir(mode=0o700)
    images.client_key.touch(0o600)
    images.client_key.write_bytes(client.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    host_public = host.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    images.host_key_pub.write_text(f"{host_public}\n")
    authorized = client.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return initramfs.dropbear_host_key(host.private_bytes_raw(), host.public_key().public_bytes_raw()), authorized


def _programs(root: Path) -> initramfs.Programs:
    return initramfs.Programs(
        busybox=_only(root, "**/bin/busybox").read_bytes(),
        dash=_only(root, "**/bin/dash").read_bytes(),
        memtester=_only(root, "**/sbin/memtester").read_bytes(),
        dropbear=_only(root, "**/sbin/dropbear").read_bytes(),
        loader=_only(root, f"**/aarch64-linux-gnu/{_LOADER}").read_bytes(),
        libraries={name: _only(root, f"**/aarch64-linux-gnu/{name}").read_bytes() for name in _LIBRARIES},
        modules={name: _only(root, f"**/{name}.ko").read_bytes() for name in _MODULES},
    )


def _only(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        raise LabError(
            f"{len(found)} files match {pattern} in Debian's arm64 packages, expected one",
            f"remove {root.parent} and run it again; if it stays so, the Debian release is not one that hvrig knows",
        )
    return found[0]


def main() -> int:
    """Build what is missing and print the folder. Exit status as hvrig's: 2 usage, 3 lab."""
    parser = argparse.ArgumentParser(prog="python -m hvrig.virtual.images", description=main.__doc__)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="default: %(default)s")
    cache: Path = parser.parse_args().cache
    try:
        images = ensure_images(cache.absolute(), lambda text: print(f"images: {text}", file=sys.stderr))  # noqa: T201
    except HvrigError as error:
        print(f"images: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, UsageError) else 3
    print(images.folder)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
