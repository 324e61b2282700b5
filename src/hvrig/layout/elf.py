"""hvisor's ELF: the linker's symbols, by pyelftools. Pure: takes a stream, opens nothing."""

from __future__ import annotations

from typing import BinaryIO

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from hvrig.layout.architecture import architecture_of, physical
from hvrig.layout.hypervisor import LinkAddresses
from hvrig.model.errors import UsageError

_SYMBOLS = frozenset({"skernel", "__core_end", "__hv_end", "HV_EXTENDED_SIZE"})
_REMEDY = "Give hvisor's ELF with its symbols, target/ARCH/debug/hvisor or release/hvisor, not hvisor.bin."


def read_link_addresses(stream: BinaryIO, name: str) -> LinkAddresses:
    """Where the linker put the hypervisor, as physical addresses; `name` is the file's, for messages.

    Raises UsageError where it is no ELF, has no symbols, or is not hvisor's.
    """
    try:
        symbols, offset, architecture = _read(stream)
    except UsageError:
        raise
    except Exception as error:  # pyelftools lets whatever its parsers raise on garbage through
        raise UsageError(
            f"{name}: not an ELF file that can be read: {error or type(error).__name__}.", _REMEDY
        ) from error
    missing = [symbol for symbol in ("skernel", "__core_end") if symbol not in symbols]
    if missing:
        raise UsageError(f"{name}: the ELF has no symbol {' and no '.join(missing)}.", _REMEDY)

    start, core_end = (physical(symbols[symbol] + offset, architecture) for symbol in ("skernel", "__core_end"))
    end: int | None = None
    if "__hv_end" in symbols:
        end = physical(symbols["__hv_end"] + offset, architecture)
    elif "HV_EXTENDED_SIZE" in symbols:
        end = core_end + symbols["HV_EXTENDED_SIZE"]
    if not 0 <= start <= core_end <= (core_end if end is None else end):
        raise UsageError(f"{name}: the symbols skernel, __core_end and __hv_end do not ascend.", _REMEDY)
    return LinkAddresses(start, core_end, end, name, architecture)


def _read(stream: BinaryIO) -> tuple[dict[str, int], int, str]:
    """The symbols that matter, physical minus linked address at `skernel`, and the architecture."""
    elf = ELFFile(stream)
    symbols: dict[str, int] = {}
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                if symbol.name in _SYMBOLS and symbol["st_shndx"] != "SHN_UNDEF":
                    symbols[symbol.name] = int(symbol["st_value"])
    start = symbols.get("skernel", 0)
    offset = 0
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_LOAD" and 0 <= start - segment["p_vaddr"] < segment["p_memsz"]:
            offset = int(segment["p_paddr"] - segment["p_vaddr"])
            break
    return symbols, offset, architecture_of(str(elf["e_machine"]))
