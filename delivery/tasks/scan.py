"""`inv scan.secrets`, `scan.packages`: what should not be in the repository, and what is old in our images."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.errors import OutdatedError, ScanError
from delivery.project import files
from delivery.scan import findings, scanning
from delivery.tasks.menu import item

__all__ = ["packages", "secrets"]


@item(
    stage="scan",
    step="scan.secrets",
    help={"history": "every commit of every branch and tag, not of this branch alone"},
)
def secrets(_context: Context, history: bool = False, json_: bool = False) -> None:
    """Look for secrets in the files, and in every commit.

    Writes .delivery/scan/secrets.json, without the secrets themselves.
    """
    found = scanning.secrets(everything=history)
    if json_:
        console.data(scanning.report("secrets.json"))
    if not found:
        return
    console.table("secrets", ("commit", "file", "line", "rule"), findings.finding_rows(found))
    raise ScanError(
        f"look for secrets: {len(found)} found",
        hint="who has a clone has them: revoke or replace them first, then rewrite the history; what is none is let through in "
        "ops/gitleaks.toml (docs/supply-chain.md)",
    )


@item(stage="scan", step="scan.packages")
def packages(_context: Context, json_: bool = False) -> None:
    """Look for packages in our images that are out of date.

    The images are those of `inv build`, or the registry's under the same keys. Writes .delivery/scan/packages.json, and
    IMAGE.cdx.json, the bill of materials of each.
    """
    checked = scanning.packages(files.load_declaration())
    if json_:
        console.data(scanning.report("packages.json"))
    counts = findings.counts(checked)
    console.say(f"packages: {', '.join(f'{count} {state}' for state, count in counts.items())}")
    if not counts.keys() - {findings.CURRENT}:
        return
    columns = ("kind", "package", "has", "newest", "images", "note")
    console.table("packages that are not current", columns, findings.package_rows(checked))
    doing = "look for packages that are out of date"
    if findings.OLD in counts:
        raise OutdatedError(
            f"{doing}: {counts[findings.OLD]} are",
            hint="Python's: `poetry update` in the app's folder; Debian's: a new date in base-image/rootfs/packages.txt "
            "(docs/supply-chain.md)",
        )
    raise OutdatedError(
        f"{doing}: {counts[findings.UNSEEN]} could not be looked at",
        hint="see the table for why: docs/supply-chain.md",
    )
