"""What gitleaks reports: where something looks like a secret."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from delivery.errors import DeliveryError

__all__ = ["Finding", "finding_rows", "findings"]

_SHORT = 12


@dataclass(frozen=True, order=True)
class Finding:
    """Where something looks like a secret, and by which rule; never what it is."""

    commit: str  # "" for the files as they are now
    file: str
    line: int
    rule: str


def findings(report: str) -> list[Finding]:
    """The findings in gitleaks' JSON report, each once, sorted; the secrets themselves are left out."""
    try:
        return sorted(
            {
                Finding(one["Commit"], one["File"], one["StartLine"], one["RuleID"])
                for one in json.loads(report)
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DeliveryError(
            f"read what gitleaks found: its report is not as gitleaks 8 writes it: {error!r}",
            hint="GITLEAKS names another gitleaks",
        ) from error


def finding_rows(found: Iterable[Finding]) -> list[tuple[str, str, str, str]]:
    """What a table shows of findings: where, file, line, rule."""
    return [
        (one.commit[:_SHORT] or "working tree", one.file, str(one.line), one.rule) for one in found
    ]
