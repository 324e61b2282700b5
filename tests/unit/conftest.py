"""Made-up inputs of a memory map (an ELF, a whole tree of hvisor's shape), and a resolver that is silent."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from hvrig.lab import resolver_socket

MakeElf = Callable[..., bytes]

EM_AARCH64 = 183


@pytest.fixture
def make_elf() -> MakeElf:
    """`make_elf({"skernel": 0x500000, ...}, linked=..., loaded=...)`: one segment of 16 MiB from `linked` on."""

    def build(
        symbols: Mapping[str, int], *, linked: int = 0x500000, loaded: int | None = None, machine: int = EM_AARCH64
    ) -> bytes:
        names = b"\0"
        table = bytes(24)
        for name, value in symbols.items():
            absolute = name == "HV_EXTENDED_SIZE"
            table += struct.pack("<IBBHQQ", len(names), 0x10, 0, 0xFFF1 if absolute else 1, value, 0)
            names += name.encode() + b"\0"
        section_names = b"\0.symtab\0.strtab\0"
        header_bytes, segment_bytes = 64, 56
        at_table = header_bytes + segment_bytes
        at_names = at_table + len(table)
        at_section_names = at_names + len(names)
        at_sections = at_section_names + len(section_names)
        segment = struct.pack("<IIQQQQQQ", 1, 7, 0, linked, linked if loaded is None else loaded, 0, 16 << 20, 0x1000)
        sections = bytes(64)
        sections += struct.pack("<IIQQQQIIQQ", 1, 2, 0, 0, at_table, len(table), 2, 1, 8, 24)
        sections += struct.pack("<IIQQQQIIQQ", 9, 3, 0, 0, at_names, len(names), 0, 0, 1, 0)
        sections += struct.pack("<IIQQQQIIQQ", 9, 3, 0, 0, at_section_names, len(section_names), 0, 0, 1, 0)
        ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
        header = ident + struct.pack(
            "<HHIQQQIHHHHHH", 2, machine, 1, linked, header_bytes, at_sections, 0, 64, 56, 1, 64, 4, 3
        )
        return header + segment + table + names + section_names + sections

    return build


@pytest.fixture
def hvisor_tree(tmp_path: Path) -> Path:
    """18 clean boards, `benchmarks/made_up_hvisor.py`, with small device trees."""
    path = Path(__file__).parents[2] / "benchmarks" / "made_up_hvisor.py"
    spec = spec_from_file_location("made_up_hvisor", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    root = tmp_path / "hvisor"
    module.write_tree(root, devices=3)
    return root


@pytest.fixture
def silent_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No name is resolved while the test runs. The event is set where somebody waited for it nevertheless, for 10 s."""
    over, waited_for = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if not over.wait(10):
            waited_for.set()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(resolver_socket, "RESOLVE_S", 0.01)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield waited_for
    over.set()
