"""`inv scan.secrets`: look for secrets in the repository."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.errors import ScanError
from delivery.scan import scanning
from delivery.tasks.decorator import task

__all__ = ["secrets"]


@task(
    stage="scan",
    step="scan.secrets",
    help={"history": "every commit of every branch and tag, not of this branch alone"},
)
def secrets(_context: Context, history: bool = False, json_: bool = False) -> None:
    """Look for secrets in the files, and in every commit.

    Writes .delivery/scan/secrets.json, without the secrets themselves.
    """
    findings = scanning.find_secrets(everything=history)
    if json_:
        console.data(scanning.report())
    if not findings:
        return
    columns = ("commit", "file", "line", "rule")
    console.table("secrets", columns, [finding.row() for finding in findings])
    raise ScanError(
        f"cannot pass the scan: {len(findings)} secrets found",
        hint="who has a clone has them: revoke or replace them first, then rewrite the history; what is none is let through in "
        "ops/gitleaks.toml (docs/supply-chain.md)",
    )
