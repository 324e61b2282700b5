from hvrig.model.finding import Finding, Origin
from hvrig.report.findings import finding_fields


def test_addresses_are_text_and_counts_are_numbers() -> None:
    finding = Finding("k", Origin.KERNEL, 1, 2.0, fields={"address": 2**64 - 1, "size": 8, "line": 303, "esr": 0x96})
    said = finding_fields(finding)
    assert (said["address"], said["size"], said["is_write"], said["value"]) == ("0xffffffffffffffff", 8, None, None)
    assert said["fields"] == {"line": 303, "esr": "0x96"}


def test_truth_is_no_number() -> None:
    finding = Finding("k", Origin.KERNEL, 1, 2.0, fields={"is_write": False, "other": True})
    said = finding_fields(finding)
    assert said["is_write"] is False
    assert said["fields"] == {"other": True}
