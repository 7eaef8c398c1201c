"""Builds by `docker buildx bake`: images in one graph, independent ones side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from delivery import process
from delivery.errors import BuildError, CommandError
from delivery.host.docker_api import FREE_DISK_SPACE, Engine

__all__ = [
    "Target",
    "bake",
    "bake_file",
    "failing_step",
    "has_plugin",
    "hint_for",
]

_FAILED = re.compile(r"^#(\d+) ERROR: ", re.MULTILINE)
_LOCATION = re.compile(r"\S*Dockerfile\S*:\d+")
_NO_LAYOUT = Path()


@dataclass(frozen=True)
class Target:
    """An image of a bake graph."""

    name: str
    context: Path
    tag: str  # of the resulting image in the engine, if there is no layout
    # The folder of the resulting OCI layout, if the engine writes layouts.
    layout: Path = _NO_LAYOUT
    labels: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    # By the name in the Dockerfile's FROM: "target:NAME", "docker-image://REFERENCE" or a folder.
    contexts: Mapping[str, str] = field(default_factory=dict)
    dated: bool = False  # whether the Dockerfile gives every file one time
    # Such as linux/arm64, by default the engine's; of several an index is made.
    platforms: tuple[str, ...] = ()


def bake(
    engine: Engine,
    targets: list[Target],
    *,
    file: Path,
    secrets: Mapping[str, Path],
    on_line: Callable[[str], None],
) -> None:
    """Build images in one graph; raise BuildError with the output of the failed step."""
    content = bake_file(targets, secrets, oci=engine.oci_layouts)
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")
    names = ", ".join(target.name for target in targets)
    argv = [
        "docker",
        "buildx",
        "bake",
        "--file",
        str(file),
        "--progress",
        "plain",
        "--provenance=false",
    ]
    options = process.Options(env=engine.environment)
    try:
        process.stream(argv, doing=f"build {names}", on_line=on_line, options=options)
    except CommandError as error:
        raise BuildError(
            error.message, details=failing_step(error.tail), hint=hint_for(error.tail)
        ) from error


def bake_file(
    targets: list[Target], secrets: Mapping[str, Path], *, oci: bool
) -> dict[str, object]:
    """The content of the bake file."""
    return {
        "group": {"default": {"targets": [target.name for target in targets]}},
        "target": {
            target.name: {
                "context": str(target.context),
                "args": dict(target.arguments),
                "contexts": dict(target.contexts),
                "secret": [
                    process.csv_line(f"id={name}", f"src={path}") for name, path in secrets.items()
                ],
                "labels": dict(target.labels),
                "tags": [target.tag],
                "output": [
                    _layout(target) if oci and target.layout != _NO_LAYOUT else "type=docker"
                ],
                **({"platforms": list(target.platforms)} if target.platforms else {}),
            }
            for target in targets
        },
    }


def _layout(target: Target) -> str:
    """The output as an OCI layout; without equal times its digest would not be reproducible."""
    rewrite = () if target.dated else ("rewrite-timestamp=true",)
    return process.csv_line("type=oci", "tar=false", f"dest={target.layout}", *rewrite)


def has_plugin(engine: Engine, plugin: str) -> bool:
    """Whether the docker command line has the plugin buildx or compose."""
    argv = ["docker", plugin, "version"]
    try:
        process.capture(
            argv, doing=f"look for docker {plugin}", options=process.Options(env=engine.environment)
        )
    except CommandError:
        return False
    return True


def failing_step(output: str) -> str:
    """The output and the location of the failed step, once: BuildKit prints them three times.

    The whole output if no step failed.
    """
    failed = _FAILED.search(output)
    if not failed:
        return output
    lines = output.splitlines()
    step = [line for line in lines if line.startswith(f"#{failed[1]} ")]
    start = next((i for i, line in enumerate(lines) if _LOCATION.fullmatch(line)), len(lines))
    excerpt = [line for line in lines[start:] if not line.startswith("ERROR: failed to ")]
    return "\n".join([*step, *excerpt])


def hint_for(output: str) -> str:
    """The hint for a failed build, by its last lines."""
    if "no space left on device" in output.lower():
        return FREE_DISK_SPACE
    if "CERTIFICATE_VERIFY_FAILED" in output or "certificate verify failed" in output:
        return "set DELIVERY_BUILD_CA to a CA bundle with the CA of the proxy that intercepts TLS"
    if "Temporary failure resolving" in output or "Name or service not known" in output:
        return "check the network and DNS of containers: the build cannot reach its package mirrors"
    return "correct the step whose output is above, then run the same command again"
