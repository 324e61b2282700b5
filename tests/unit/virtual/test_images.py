"""The image set, with a fake toolchain: each tool writes a file of its name where the real one would."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from hvrig.model.errors import LabError, UsageError
from hvrig.virtual import images
from hvrig.virtual.images import ImageSet, ensure_images, find_images, zone0_changes, zone0_name
from hvrig.virtual.machine import LAYOUT


class FakeToolchain:
    """Stands for apt, dpkg-deb, the compiler, mkimage, QEMU and dtc."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.stdins: list[bytes] = []
        self.fails: dict[str, LabError] = {}
        self.lost = ""

    def __call__(
        self,
        argv: Sequence[str],
        deadline_s: float,
        what: str,
        *,
        cwd: Path = Path(),
        stdin: bytes = b"",
        remedy: str = "",
    ) -> bytes:
        assert deadline_s > 0
        assert what
        assert remedy or argv[0] not in ("apt-get", "apt-cache")
        self.calls.append(list(argv))
        tool = argv[0]
        if tool in self.fails and (tool != "apt-get" or argv[-1] == "update"):
            raise self.fails[tool]
        if tool == "apt-cache":
            return b"linux-image-cloud-arm64\n  Depends: linux-image-6.1.0-99-cloud-arm64\n"
        if tool == "apt-get" and "download" in argv:
            for name in argv[argv.index("download") + 1 :]:
                (cwd / f"{name}_1_arm64.deb").touch()
        elif tool == "dpkg-deb":
            self._unpack(Path(argv[2]).name, Path(argv[3]))
        elif tool == "aarch64-linux-gnu-gcc":
            Path(argv[argv.index("-o") + 1]).write_bytes(b"elf")
        elif tool in ("aarch64-linux-gnu-objcopy", "mkimage"):
            Path(argv[-1]).write_bytes(tool.encode())
        elif tool == "qemu-system-aarch64":
            (cwd / "board.dtb").write_bytes(b"dtb")
        elif tool == "dtc":
            self.stdins.append(stdin)
            return b"tree\n"
        return b""

    def _unpack(self, deb: str, root: Path) -> None:
        files = {
            "linux-image-6.1.0-99-cloud-arm64": [
                "boot/vmlinuz-6.1.0-99-cloud-arm64",
                *(f"lib/modules/6.1/kernel/{name}.ko" for name in images._MODULES),
            ],
            "busybox-static": ["bin/busybox"],
            "dash": ["bin/dash"],
            "memtester": ["usr/sbin/memtester"],
            "dropbear-bin": ["usr/sbin/dropbear"],
            "libc6": [
                "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
                *(f"lib/aarch64-linux-gnu/{name}" for name in images._LIBRARIES),
            ],
        }
        for name in files.get(deb.split("_")[0], []):
            if Path(name).name == self.lost:
                continue
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(name.encode())

    @property
    def tools(self) -> list[str]:
        return [call[0] for call in self.calls]


@pytest.fixture
def toolchain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeToolchain:
    fake = FakeToolchain()
    uboot = tmp_path / "u-boot.bin"
    uboot.write_bytes(b"uboot")
    monkeypatch.setattr(images, "run", fake)
    monkeypatch.setattr(images, "_UBOOT", uboot)
    monkeypatch.setattr(images, "_digest", lambda: "0123456789abcdef")
    return fake


def silent(text: str) -> None:
    assert text


def left_over(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob(".new-*")]


def test_a_first_call_builds_everything_and_a_second_runs_nothing(tmp_path: Path, toolchain: FakeToolchain) -> None:
    cache = tmp_path / "cache"
    assert find_images(cache) is None
    built = ensure_images(cache, silent)
    assert built.folder == cache / "images" / "0123456789abcdef"
    for path in (built.uboot, built.kernel, built.initrd, built.board_dtb, built.hvisor, built.hvisor_elf):
        assert path.stat().st_size > 0
    assert built.client_key.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert built.client_key.stat().st_mode & 0o077 == 0
    assert built.host_key_pub.read_text().startswith("ssh-ed25519 AAAA")
    assert sorted(p.name for p in built.tftp.iterdir()) == [
        *("Image", "board.dtb", "hvisor.bin", "initrd.gz", "zone0-all.dtb")
    ]
    assert left_over(cache) == []

    toolchain.calls.clear()
    assert ensure_images(cache, pytest.fail) == built
    assert find_images(cache) == built
    assert toolchain.calls == []


def test_a_changed_source_is_rebuilt_without_the_network(
    tmp_path: Path, toolchain: FakeToolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure_images(tmp_path / "cache", silent)
    monkeypatch.setattr(images, "_digest", lambda: "fedcba9876543210")
    toolchain.calls.clear()
    second = ensure_images(tmp_path / "cache", silent)
    assert second.folder != first.folder
    assert "aarch64-linux-gnu-gcc" in toolchain.tools
    assert not {"apt-get", "apt-cache", "dpkg-deb"} & set(toolchain.tools)


def test_a_failed_build_leaves_nothing_and_can_be_repeated(tmp_path: Path, toolchain: FakeToolchain) -> None:
    cache = tmp_path / "cache"
    toolchain.fails["mkimage"] = LabError("wrapping: mkimage ended with status 1", "do something")
    with pytest.raises(LabError, match="mkimage"):
        ensure_images(cache, silent)
    assert find_images(cache) is None
    assert left_over(cache) == []
    toolchain.fails.clear()
    assert ensure_images(cache, silent).hvisor.is_file()


def test_a_broken_foreign_source_does_not_matter_if_the_packages_come(tmp_path: Path, toolchain: FakeToolchain) -> None:
    toolchain.fails["apt-get"] = LabError("update failed", "connect")
    assert ensure_images(tmp_path / "cache", silent).kernel.is_file()


def test_without_network_both_failures_are_told(tmp_path: Path, toolchain: FakeToolchain) -> None:
    toolchain.fails["apt-get"] = LabError("update failed", "connect")
    toolchain.fails["apt-cache"] = LabError("no such package", "connect")
    with pytest.raises(LabError) as caught:
        ensure_images(tmp_path / "cache", silent)
    assert "no such package" in caught.value.message
    assert "update failed" in caught.value.message


@pytest.mark.usefixtures("toolchain")
def test_of_two_builds_at_once_the_first_one_stays(tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def other_process_wins(text: str) -> None:
        if text == "device trees":
            other = cache / "images" / "0123456789abcdef"
            other.mkdir()
            (other / "theirs").touch()

    built = ensure_images(cache, other_process_wins)
    assert [path.name for path in built.folder.iterdir()] == ["theirs"]
    assert left_over(cache) == []


def test_a_missing_file_in_the_packages_is_named(tmp_path: Path, toolchain: FakeToolchain) -> None:
    toolchain.lost = "virtio_net.ko"
    with pytest.raises(LabError, match=r"0 files match \*\*/virtio_net\.ko"):
        ensure_images(tmp_path / "cache", silent)


def test_a_cache_that_cannot_be_written_is_a_lab_error(tmp_path: Path, toolchain: FakeToolchain) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(LabError, match=r"cache"):
        ensure_images(tmp_path / "cache", silent)
    assert toolchain.calls == []


def test_a_device_tree_is_compiled_once_for_each_reservation(tmp_path: Path, toolchain: FakeToolchain) -> None:
    built = ensure_images(tmp_path / "cache", silent)
    toolchain.stdins.clear()
    assert built.zone0_dtb(None) == built.tftp / "zone0-all.dtb"
    assert toolchain.stdins == []
    for _ in range(2):
        assert built.zone0_dtb(4 << 20) == built.tftp / "zone0-4M.dtb"
    _, source = toolchain.stdins
    assert source == b"tree\n" + zone0_changes(LAYOUT, 4 << 20, built.initrd.stat().st_size).encode()


def test_the_device_tree_source_reserves_what_was_asked_for() -> None:
    four = zone0_changes(LAYOUT, 4 << 20, 0x2D2152)
    assert "hvisor@40400000 {\n            no-map;\n            reg = <0x0 0x40400000 0x0 0x400000>;" in four
    assert "reg = <0x0 0x40000000 0x0 0x14000000 0x1 0x0 0x0 0x2f000000>;" in four
    assert "linux,initrd-start = <0x0 0x4a000000>;" in four
    assert "linux,initrd-end = <0x0 0x4a2d2152>;" in four
    assert "reg = <0x0 0x40400000 0x0 0x4600000>;" in zone0_changes(LAYOUT, None, 1)


@pytest.mark.parametrize(
    ("reserved", "name"),
    [
        *((None, "zone0-all.dtb"), (4 << 20, "zone0-4M.dtb"), (6 << 20, "zone0-6M.dtb")),
        *((1740 << 10, "zone0-1740K.dtb"), (LAYOUT.full_reservation, "zone0-70M.dtb")),
    ],
)
def test_a_device_tree_is_named_by_its_reservation(reserved: int | None, name: str) -> None:
    assert zone0_name(reserved) == name


@pytest.mark.parametrize("reserved", [0, -4096, 4095, 5000, LAYOUT.full_reservation + 4096])
def test_a_reservation_that_makes_no_sense_is_refused(reserved: int) -> None:
    with pytest.raises(UsageError, match=str(reserved)):
        ImageSet(Path()).zone0_dtb(reserved)


def test_the_digest_follows_sources_and_tool_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, source = tmp_path / "status", tmp_path / "main.c"
    monkeypatch.setattr(images, "_DPKG_STATUS", status)
    monkeypatch.setattr(images, "_SOURCES", (source,))

    def digest(source_text: str, version: str) -> str:
        source.write_text(source_text)
        status.write_text(f"Package: u-boot-tools\nStatus: install ok installed\nVersion: {version}\n")
        images._digest.cache_clear()
        return images._digest()

    try:
        assert digest("a", "1") == digest("a", "1")
        assert len({digest("a", "1"), digest("b", "1"), digest("a", "2")}) == 3
    finally:
        images._digest.cache_clear()


def test_versions_are_read_from_the_right_paragraph() -> None:
    status = (
        b"Package: u-boot-tools-doc\nVersion: 9\n\n"
        b"Package: qemu-system-arm\nStatus: install ok installed\nDepends: u-boot-qemu\nVersion: 1:7.2\n\n"
        b"Package: u-boot-qemu\nDescription: x\n .\n Version: 8\n\n"
        b"Package: gcc-aarch64-linux-gnu\nVersion: 4:12"
    )
    assert images._installed_versions(status) == (
        "device-tree-compiler -\ngcc-aarch64-linux-gnu 4:12\nqemu-system-arm 1:7.2\nu-boot-qemu -\nu-boot-tools -\n"
    )


@pytest.mark.usefixtures("toolchain")
def test_sets_unused_for_a_month_are_removed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name, t in (("old", 0.0), (".new-left", 0.0), ("recent", None)):
        (cache / "images" / name).mkdir(parents=True)
        if t is not None:
            os.utime(cache / "images" / name, (t, t))
    built = ensure_images(cache, silent)
    assert sorted(path.name for path in (cache / "images").iterdir()) == sorted([built.folder.name, "recent"])


def test_the_sources_that_count_are_all_there_are() -> None:
    standin = {path for path in images._STANDIN.iterdir() if path.suffix != ".md"}
    assert standin == {path for path in images._SOURCES if path.parent == images._STANDIN}
