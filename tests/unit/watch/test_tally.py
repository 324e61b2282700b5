from __future__ import annotations

from dataclasses import replace

from hvrig.model.finding import Finding, Origin
from hvrig.watch.tally import Tally

LOCKUP = Finding("soft-lockup", Origin.KERNEL, 10, 0.0, cpu=1, fields={"message": "CPU#1 stuck for 22s!"})


def test_repeats_are_counted_whatever_the_numbers_in_their_message() -> None:
    tally = Tally()
    assert tally.add(LOCKUP)
    assert not tally.add(replace(LOCKUP, offset=90, fields={"message": "CPU#1 stuck for 45s!"}))
    assert tally.close() == [replace(LOCKUP, count=2)]
    assert tally.close() == []
    assert tally.add(LOCKUP)


def test_another_cpu_zone_address_or_cause_is_another_finding() -> None:
    fault = Finding("unhandled-mmio-fault", Origin.HYPERVISOR, 1, 0.0, zone=0, cpu=0, fields={"address": 1})
    tally = Tally()
    others = [replace(fault, cpu=1), replace(fault, zone=1), replace(fault, fields={"address": 2})]
    assert all(tally.add(each) for each in [fault, *others, replace(fault, tied_to=5)])
    assert tally.close() == []


def test_an_ocean_of_different_findings_is_bounded_and_none_is_lost() -> None:
    tally = Tally()
    for number in range(1000):
        tally.add(replace(LOCKUP, cpu=number, offset=number))
    kept = tally.close()
    assert sum(each.count for each in kept) == 1000 - 31
    assert not tally._first


def test_one_alarm_for_a_kind_and_cpu() -> None:
    tally = Tally()
    assert [tally.alarm("rcu-stall", cpu) for cpu in (None, None, 1, 1)] == [True, False, True, False]
    tally.close()
    assert tally.alarm("rcu-stall", 1)
