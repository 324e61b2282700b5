from __future__ import annotations

import ipaddress

import pytest

from hvrig.lab.resolver_socket import IpAddress, is_own, one_spelling

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
        raise OSError("Name or service not known") from None


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
