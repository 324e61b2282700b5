from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.layout.addresses import minus, union
from hvrig.layout.iomem import KernelMemory, read_iomem
from hvrig.model.errors import LabError
from hvrig.model.memory import Range

DATA = Path(__file__).parents[2] / "data" / "iomem"


def iomem(place: str) -> KernelMemory:
    return read_iomem((DATA / f"{place}.txt").read_text())


def test_memory_with_no_map_is_no_system_ram() -> None:
    kernel = iomem("virtual")
    assert kernel.system_ram == (
        Range(0x40000000, 0x40400000),
        Range(0x44A00000, 0x54000000),
        Range(0x100000000, 0x12F000000),
    )
    assert iomem("virtual-under-reserved").system_ram[1] == Range(0x40800000, 0x54000000)


def test_what_the_kernel_keeps_to_itself_is_not_handed_out() -> None:
    kernel = iomem("virtual")
    assert Range(0x46000000, 0x4A2E2000) in kernel.reserved
    assert not any(part.overlap(Range(0x46000000, 0x4A2E2000)) for part in kernel.handed_out)
    assert all(part.end <= 0x40400000 or part.start >= 0x44A00000 for part in kernel.handed_out)


def test_code_inside_a_reserved_stretch_is_not_reserved() -> None:
    """As newer kernels nest them: a hypervisor under the kernel's code is overwritten, whatever is around it."""
    kernel = read_iomem(
        "40000000-4fffffff : System RAM\n"
        "  40200000-41ffffff : reserved\n"
        "    40210000-40ffffff : Kernel code\n"
        "    41000000-410fffff : reserved\n"
        "  44000000-44ffffff : Crash kernel\n"
    )
    assert kernel.reserved == (Range(0x40200000, 0x40210000), Range(0x41000000, 0x42000000))


def test_other_architectures_write_it_with_a_capital() -> None:
    kernel = read_iomem(
        "80000000-801fffff : Reserved\n80200000-8fffffff : System RAM\n  80200000-80ffffff : Reserved\n"
    )
    assert kernel.handed_out == (Range(0x81000000, 0x90000000),)


def test_a_device_called_system_ram_inside_is_no_trap() -> None:
    kernel = read_iomem("0-fff : ram : System RAM\n1000-1fff : System RAM\n  1000-17ff : reserved by x\n")
    assert (kernel.system_ram, kernel.reserved) == ((Range(0x1000, 0x2000),), ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no System RAM"),
        ("09000000-09000fff : pl011@9000000\n", "names no System RAM"),
        ("00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n", "log.* in as root|only zeros"),
        ("40000000-4fffffff : System RAM\ncat: read error\n", "line 2"),
        ("4fffffff-40000000 : System RAM\n", "line 1"),
        ("40000000-4ffffff\x00 : System RAM\n", "line 1"),
        ("10000000000000000-10000000000000001 : System RAM\n", "line 1"),
    ],
)
def test_what_cannot_be_believed_is_an_error(text: str, said: str) -> None:
    with pytest.raises(LabError, match=said):
        read_iomem(text)


PAGES = 200
page = st.integers(0, PAGES)
stretch = st.tuples(page, page).map(lambda ends: Range(min(ends) * 4096, (max(ends) + 1) * 4096))
NAMES = ("System RAM", "reserved", "Kernel code", "pl011")


def in_halves(whole: Range) -> tuple[Range, Range]:
    middle = whole.start + whole.size // 8192 * 4096
    return Range(whole.start, middle), Range(middle, whole.end)


@given(st.data())
def test_agrees_with_a_model_page_by_page(data: st.DataObject) -> None:
    """A random tree of resources: the innermost name of a page decides."""
    lines: list[str] = []
    names: dict[int, list[str]] = {}

    def write(whole: Range, depth: int, outer: tuple[str, ...]) -> None:
        for part in in_halves(whole):
            if not part.size or not data.draw(st.booleans()):
                continue
            name = data.draw(st.sampled_from(NAMES if depth == 0 else NAMES[1:]))
            lines.append(f"{'  ' * depth}{part.start:08x}-{part.end - 1:08x} : {name}")
            for number in range(part.start // 4096, part.end // 4096):
                names[number] = [*outer, name]
            if depth < 4:
                write(part, depth + 1, (*outer, name))

    write(Range(0x4000_0000, 0x4000_0000 + PAGES * 4096), 0, ())
    ram = {number for number, path in names.items() if path[0] == "System RAM"}
    open_to_all = {number for number in ram if names[number][-1] != "reserved"}
    if not ram:
        with pytest.raises(LabError):
            read_iomem("\n".join(lines))
        return
    kernel = read_iomem("\n".join(lines) + "\n")
    assert kernel.system_ram == union(Range(n * 4096, n * 4096 + 4096) for n in ram)
    assert kernel.handed_out == union(Range(n * 4096, n * 4096 + 4096) for n in open_to_all)
    assert kernel.handed_out == minus(kernel.system_ram, kernel.reserved)


@given(st.text())
def test_garbage_is_an_error_and_nothing_else(text: str) -> None:
    with pytest.raises(LabError):
        read_iomem(text)
