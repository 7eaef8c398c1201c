"""Look for secrets in files and commits, and for packages that are out of date."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from delivery import console
from delivery.build import building, planning
from delivery.build.plan import PlannedImage
from delivery.errors import CommandError, DeliveryError, ScanError
from delivery.host import debian, programs
from delivery.project import files, git
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry import oci_layout
from delivery.registry.client import Registry, answers
from delivery.release import bom, sboms
from delivery.release.bom import Image
from delivery.scan import findings, pypi
from delivery.scan.findings import Checked, Finding, Index, Offer
from delivery.scan.gitleaks import Gitleaks

__all__ = ["packages", "report", "secrets"]


def secrets(root: Path = ROOT, *, everything: bool = False) -> list[Finding]:
    """The secrets in the files and in the commits of this branch, or of every ref. Writes secrets.json."""
    gitleaks = Gitleaks(programs.ensure("gitleaks"), root)
    clone = git.look(root)
    with console.step("secrets in the files") as step:
        count, found = gitleaks.files()
        step.done(f"{len(found) or 'none'} in {count} files")
    commits = len(git.history(clone, clone.ref_commits() if everything else ()))
    whose = "of every ref" if everything else f"of {clone.branch or clone.commit[:12]}"
    with console.step("secrets in the commits") as step:
        before = gitleaks.commits(everything=everything)
        step.done(f"{len(before) or 'none'} in {commits} commits {whose}")
    if clone.ends:
        console.say(
            f"note: this clone is shallow; `{' '.join(git.DEEPEN)}` fetches the older commits, which were not looked at"
        )
    looked = {
        "files": count,
        "commits": commits,
        "of": whose.removeprefix("of "),
        "shallow": bool(clone.ends),
    }
    found = sorted({*found, *before})
    report = {"commit": clone.commit, **looked, "findings": [asdict(finding) for finding in found]}
    _write("secrets.json", _json(report), root)
    return found


def packages(declaration: Declaration, root: Path = ROOT) -> list[Checked]:
    """Every package of our images beside its newest version. Writes each image's bill, and packages.json."""
    address = declaration.registry.address
    registry = Registry(address)
    found = {}
    with console.step("bills of materials") as step:
        for image in planning.look_at_images(
            declaration, registry if answers(address) else None, root
        ).all:
            bill = _bill(declaration, registry, image, root)
            _write(f"{image.name}.cdx.json", bill, root)
            found[image.name] = bom.packages(bill)
        step.done(f"{', '.join(found)}: .delivery/scan/*.cdx.json")
    ours = [_distribution(root / image.context) for image in declaration.images.values()]
    offers = {index: _offer(index, names) for index, names in findings.indexes(found, ours).items()}
    checked = findings.check(found, ours, offers)
    _write("packages.json", _json({"packages": [asdict(package) for package in checked]}), root)
    return checked


def _bill(declaration: Declaration, registry: Registry, image: PlannedImage, root: Path) -> str:
    """The bill of an image that is built here or published: the same bytes that a push attaches, or has attached."""
    version = files.version(root / declaration.images[image.name].context)
    layout = building.layout(image, root)
    if image.digest:
        whole = Image(image.name, version, image.repository, image.digest)
        return sboms.attached(registry, image.repository, image.digest) or sboms.make(
            registry, whole
        )
    if not layout.is_dir():
        raise ScanError(
            f"look for packages that are out of date: {image.name} is not to be had as it is now",
            hint="`./run inv build` builds it; an engine with the classic image store keeps it to itself until `./run inv push`",
        )
    return sboms.make(
        registry, Image(image.name, version, image.repository, oci_layout.digest(layout)), layout
    )


def _distribution(context: Path) -> str:
    """The Python package in this folder, or ""."""
    try:
        return str(
            tomllib.loads((context / "pyproject.toml").read_text(encoding="utf-8"))["project"][
                "name"
            ]
        )
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return ""


def _offer(index: Index, names: Sequence[str]) -> Offer:
    """What an index offers; one that cannot be asked is no error, but told with each of its packages."""
    title = f"Debian's {index.release}" if index.kind == "deb" else "Python package index"
    with console.step(title) as step:
        try:
            offer = _asked(index, names, step)
        except DeliveryError as error:
            last = error.tail.strip().splitlines()[-1:] if isinstance(error, CommandError) else []
            offer = Offer(why="; ".join([error.message, *last]))
            step.done(f"not looked at: {offer.why}")
            return offer
        step.done(f"asked for {len(names)} packages")
        return offer


def _asked(index: Index, names: Sequence[str], step: console.Step) -> Offer:
    if index.kind == "pypi":
        newest = pypi.newest(names, index.release, index.architecture)
        return Offer({name: [version] for name, version in newest.items()})
    offered = debian.offered(index.release, index.architecture, names, step.line)
    return Offer(
        {name: [one.version for one in versions] for name, versions in offered.items()},
        {
            name: {one.version for one in versions if one.security}
            for name, versions in offered.items()
        },
    )


def report(name: str, root: Path = ROOT) -> str:
    """The report that the last scan has written, secrets.json or packages.json."""
    return files.output("scan", name, root=root).read_text(encoding="utf-8")


def _write(name: str, text: str, root: Path) -> None:
    files.output("scan", name, root=root).write_text(text, encoding="utf-8")


def _json(content: object) -> str:
    return json.dumps(content, indent=2) + "\n"
