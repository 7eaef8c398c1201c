"""`inv scan.secrets`: look for secrets in the repository."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.errors import ScanError
from delivery.tasks.decorator import task
from delivery.words import plural

__all__ = ["secrets"]


@task(
    stage="scan",
    step="scan.secrets",
    help={"history": "scan the commits of all branches and tags, not only of this branch"},
)
def secrets(_context: Context, history: bool = False, json_: bool = False) -> None:
    """Look for secrets in the files and in every commit.

    Writes .delivery/scan/secrets.json, without the secrets.
    """
    from delivery.scan import scanning

    findings = scanning.find_secrets(everything=history)
    if json_:
        console.data(scanning.report())
    if not findings:
        return
    columns = ("commit", "file", "line", "rule")
    console.table("secrets", columns, [finding.row() for finding in findings])
    raise ScanError(
        f"cannot pass the scan: {plural(len(findings), 'secret')} found",
        hint="revoke or replace them first, since every clone has them; then rewrite the history. "
        "Allow false positives in ops/gitleaks.toml (docs/supply-chain.md)",
    )
