"""Builds by `docker buildx`: this project's images in one graph, an upstream recipe by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from delivery import process
from delivery.errors import BuildError, CommandError
from delivery.host.docker_api import Engine

__all__ = [
    "Single",
    "Target",
    "bake",
    "bake_file",
    "build",
    "failing_step",
    "has_plugin",
    "hint_for",
]

_FAILED = re.compile(r"^#(\d+) ERROR: ", re.MULTILINE)
_PLAIN = ("--progress", "plain", "--provenance=false")
_LOCATION = re.compile(r"\S*Dockerfile\S*:\d+")


@dataclass(frozen=True)
class Target:
    """An image of a bake graph."""

    name: str
    context: Path
    layout: Path  # the folder of the resulting OCI layout, if the engine can write layouts
    tag: str  # of the resulting image in the engine, if it cannot
    arguments: Mapping[str, str] = field(default_factory=dict)
    # By the name in the Dockerfile's FROM: "target:NAME", "docker-image://REFERENCE" or a folder.
    contexts: Mapping[str, str] = field(default_factory=dict)
    dated: bool = False  # whether the Dockerfile gives every file the time SOURCE_DATE_EPOCH


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
    _run(engine, ["bake", "--file", str(file), *_PLAIN], f"build {names}", on_line)


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
                "tags": [target.tag],
                "output": [_layout(target) if oci else "type=docker"],
            }
            for target in targets
        },
    }


def _layout(target: Target) -> str:
    """The output as an OCI layout; without equal times its digest would not be reproducible."""
    rewrite = () if target.dated else ("rewrite-timestamp=true",)
    return process.csv_line("type=oci", "tar=false", f"dest={target.layout}", *rewrite)


@dataclass(frozen=True)
class Single:
    """An image that is built alone, into the engine."""

    context: Path
    tag: str
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    secrets: Mapping[str, Path]


def build(engine: Engine, image: Single, on_line: Callable[[str], None]) -> None:
    """Build an image; raise BuildError with the output of the failed step."""
    argv = ["build", *_PLAIN, "--load", f"--tag={image.tag}"]
    argv += [f"--build-arg={name}={value}" for name, value in image.arguments.items()]
    argv += [f"--label={name}={value}" for name, value in image.labels.items()]
    argv += [
        f"--secret={process.csv_line(f'id={name}', f'src={path}')}"
        for name, path in image.secrets.items()
    ]
    _run(engine, [*argv, str(image.context)], f"build {image.tag}", on_line)


def _run(engine: Engine, argv: list[str], doing: str, on_line: Callable[[str], None]) -> None:
    options = process.Options(env=engine.environment)
    try:
        process.stream(["docker", "buildx", *argv], doing=doing, on_line=on_line, options=options)
    except CommandError as error:
        raise BuildError(
            error.message, details=failing_step(error.tail), hint=hint_for(error.tail)
        ) from error


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
        return (
            "free disk space, since the engine's disk is full: `docker system df` shows its use, "
            "`docker builder prune` frees the build cache, `./run inv cache.clean` this project's"
        )
    if "CERTIFICATE_VERIFY_FAILED" in output or "certificate verify failed" in output:
        return "set DELIVERY_BUILD_CA to a CA bundle with the CA of the proxy that intercepts TLS"
    if "Temporary failure resolving" in output or "Name or service not known" in output:
        return "check the network and DNS of containers: the build cannot reach its package mirrors"
    return "correct the step whose output is above, then run the same command again"
