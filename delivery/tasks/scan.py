"""`inv scan.secrets` and `inv scan.vulnerabilities`."""

from __future__ import annotations

from delivery import console
from delivery.errors import ScanError
from delivery.tasks.decorator import task
from delivery.words import plural

__all__ = ["secrets", "vulnerabilities"]


@task(
    stage="scan",
    step="scan.secrets",
    help={"history": "scan the commits of all branches and tags, not only of this branch"},
)
def secrets(history: bool = False, json_: bool = False) -> None:
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


@task(
    stage="scan",
    step="scan.vulnerabilities",
    unless="version",
    help={"version": "of a release; default: what is built from this clone"},
)
def vulnerabilities(version: str = "", json_: bool = False) -> None:
    """Look for vulnerabilities in every image of a release, ours and upstream.

    Writes .delivery/scan/: vulnerabilities.json, vulnerabilities.sarif, the SBOM of each image. On
    the candidate and release lines, fails for those with a fix that block.
    """
    from delivery.scan import gate
    from delivery.scan.vulnerabilities import table_row

    result = gate.scan_release(version) if version else gate.scan_clone()
    if json_:
        console.data(gate.report())
    if result.findings:
        columns = ("image", "severity", "id", "package", "fixed in", "verdict")
        console.table("vulnerabilities", columns, [table_row(item) for item in result.findings])
    result.check(f"pass the scan of the {result.line} line")
