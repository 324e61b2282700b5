from __future__ import annotations

from pathlib import Path

from hvrig.layout.board_rs import Board, LoadAddress
from hvrig.layout.load_addresses import compare_addresses
from hvrig.model.memory_map import MemoryMap
from hvrig.model.place import Image, Place, SshSettings, UBootSettings


def board(kernel: int | None, dtb: int | None) -> Board:
    def at(address: int | None, line: int) -> LoadAddress | None:
        return None if address is None else LoadAddress(address, f"board.rs:{line}")

    return Board(MemoryMap(), 8, at(kernel, 3), at(dtb, 4), ())


def place(**addresses: int) -> Place:
    return Place(
        name="x3300",
        images={name: Image(path=Path(name), address=address) for name, address in addresses.items()},
        uboot=UBootSettings(boot="bootm"),
        ssh=SshSettings(key=Path("key"), host_key="ssh-ed25519 AAAA"),
    )


X3300 = place(kernel=0x0940_0000, root_linux_dtb=0x1000_0000, hvisor=0x50_0000)


def test_what_lies_where_hvisor_looks_for_it() -> None:
    compared = compare_addresses(X3300, board(0x0940_0000, 0x1000_0000))
    assert compared.agreed == {"kernel": 0x0940_0000, "root_linux_dtb": 0x1000_0000}
    assert (compared.wrong, compared.notes) == ((), ())


def test_each_that_does_not_is_told_with_both_numbers() -> None:
    compared = compare_addresses(X3300, board(0x1040_0000, 0x2000_0000))
    assert [str(one) for one in compared.wrong] == [
        "kernel is loaded at 0x9400000, and ROOT_ZONE_KERNEL_ADDR is 0x10400000 (board.rs:3)",
        "root_linux_dtb is loaded at 0x10000000, and ROOT_ZONE_DTB_ADDR is 0x20000000 (board.rs:4)",
    ]
    assert compared.agreed == {}


def test_what_could_not_be_compared_is_said() -> None:
    compared = compare_addresses(place(first=1, second=2), board(None, 2))
    assert compared.wrong == ()
    assert compared.notes == (
        "it has no ROOT_ZONE_KERNEL_ADDR",
        "which image of the place is zone0_dtb is not clear",
    )
