from __future__ import annotations

import ipaddress
import socket
import threading
from typing import NoReturn

import pytest

from hvrig.lab.resolver_socket import IpAddress, addresses_of, is_own, one_spelling

HOSTS = {
    "localhost": ["::1", "127.0.0.1"],
    "labhost": ["127.0.1.1"],
    "labhost.example.org": ["192.0.2.7", "2001:db8::7"],
    "coordinator": ["2001:db8::9", "192.0.2.9"],
}
OWN = {"192.0.2.7"}


def resolve(host: str) -> list[IpAddress]:
    try:
        return [ipaddress.ip_address(text) for text in HOSTS.get(host) or [host]]
    except ValueError:
        return []


def spelling(address: str, proxy: str = "") -> str:
    return one_spelling(address, 20408, proxy, resolve=resolve, own=lambda each: each.is_loopback or str(each) in OWN)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:20408", "localhost:20408", "localhost", "LOCALHOST", "[::1]:20408", "labhost", "labhost.example.org"],
)
def test_this_machine_is_one_however_it_is_written(address: str) -> None:
    assert spelling(address) == "localhost:20408"


@pytest.mark.parametrize("address", ["coordinator", "Coordinator:20408", "192.0.2.9", "192.0.2.9:20408"])
def test_another_machine_is_its_address(address: str) -> None:
    assert spelling(address) == "192.0.2.9:20408"


def test_another_port_is_another_coordinator() -> None:
    assert spelling("localhost:20409") == "localhost:20409"


def test_behind_a_proxy_names_are_the_proxys() -> None:
    assert spelling("localhost", "gate") == "gate localhost:20408"
    assert spelling("localhost:20408", "gate") == spelling("localhost", "gate") != spelling("localhost")


@pytest.mark.parametrize(
    ("address", "kept"), [("nowhere.invalid", "nowhere.invalid:20408"), ("host:port", "host:port"), ("", ":20408")]
)
def test_what_cannot_be_resolved_stays_as_it_is(address: str, kept: str) -> None:
    assert spelling(address) == kept


def test_a_loopback_address_is_this_machines() -> None:
    assert is_own(ipaddress.ip_address("127.0.1.1"))
    assert is_own(ipaddress.ip_address("::1"))


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 0, 0, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_a_hosts_addresses_are_without_their_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "192.0.2.7", "fe80::7%eth0")
    assert [str(each) for each in addresses_of("labhost")] == ["192.0.2.7", "fe80::7"]


@pytest.mark.parametrize("error", [socket.gaierror("Name or service not known"), UnicodeError("label too long")])
def test_a_host_that_cannot_be_resolved_has_no_address(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    assert addresses_of("nowhere.invalid") == ()
    assert one_spelling("nowhere.invalid", 20408) == "nowhere.invalid:20408"


def test_a_resolver_that_does_not_answer_is_not_waited_for(silent_resolver: threading.Event) -> None:
    assert addresses_of("labhost") == ()
    assert one_spelling("labhost", 20408) == "labhost:20408"
    assert not silent_resolver.is_set()
