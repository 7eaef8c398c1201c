"""What gitleaks reports is read without the secrets."""

import json

import pytest

from delivery.errors import DeliveryError
from delivery.scan import findings
from delivery.scan.findings import Finding

REPORTED = {
    "RuleID": "private-key",
    "Commit": "c" * 40,
    "File": "a/b",
    "StartLine": 3,
    "Secret": "hush",
    "Match": "key = hush",
    "Message": "hush",
}


def test_a_finding_is_where_it_is_and_nothing_of_what_it_is() -> None:
    found = findings.findings(json.dumps([REPORTED, REPORTED, {**REPORTED, "Commit": ""}]))
    assert found == [
        Finding("", "a/b", 3, "private-key"),
        Finding("c" * 40, "a/b", 3, "private-key"),
    ]
    assert findings.finding_rows(found) == [
        ("working tree", "a/b", "3", "private-key"),
        ("c" * 12, "a/b", "3", "private-key"),
    ]


@pytest.mark.parametrize("report", ["", "{}}", "[{}]", "[1]", "3"])
def test_a_report_that_is_none_is_an_error(report: str) -> None:
    with pytest.raises(DeliveryError, match="read what gitleaks found"):
        findings.findings(report)
