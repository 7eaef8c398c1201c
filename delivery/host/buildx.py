"""BuildKit by `docker buildx`: one graph for the images of ours, one build for an upstream recipe."""

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
_PLACE = re.compile(r"\S*Dockerfile\S*:\d+")


@dataclass(frozen=True)
class Target:
    """One image of a bake graph.

    contexts maps a name that the Dockerfile says FROM to what stands for it ("target:NAME", "docker-image://REF"). The result
    goes to the OCI layout in the folder `layout`, or into the engine as `tag` where it cannot write layouts.
    """

    name: str
    context: Path
    layout: Path
    tag: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)


def bake(
    engine: Engine,
    targets: list[Target],
    *,
    file: Path,
    secrets: Mapping[str, Path],
    on_line: Callable[[str], None],
) -> None:
    """Build these images in one graph; raise BuildError with the failing step's last lines."""
    file.write_text(
        json.dumps(bake_file(targets, secrets, oci=engine.oci_layouts), indent=2), encoding="utf-8"
    )
    _run(
        engine,
        [
            "docker",
            "buildx",
            "bake",
            "--file",
            str(file),
            "--progress",
            "plain",
            "--provenance=false",
        ],
        doing=f"build {', '.join(target.name for target in targets)}",
        on_line=on_line,
    )


def bake_file(
    targets: list[Target], secrets: Mapping[str, Path], *, oci: bool
) -> dict[str, object]:
    """The bake file of these targets, as JSON. Layouts are made with the files' times rewritten, so that digests repeat."""
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
                "output": [
                    process.csv_line(
                        "type=oci", "tar=false", f"dest={target.layout}", "rewrite-timestamp=true"
                    )
                    if oci
                    else "type=docker"
                ],
            }
            for target in targets
        },
    }


@dataclass(frozen=True)
class Single:
    """One image to build by itself, into the engine under its tag."""

    context: Path
    tag: str
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    secrets: Mapping[str, Path]


def build(engine: Engine, image: Single, on_line: Callable[[str], None]) -> None:
    """Build one image; raise BuildError with the failing step's last lines."""
    argv = [
        "docker",
        "buildx",
        "build",
        "--progress",
        "plain",
        "--provenance=false",
        "--load",
        "--tag",
        image.tag,
    ]
    argv += [
        word
        for name, value in image.arguments.items()
        for word in ("--build-arg", f"{name}={value}")
    ]
    argv += [
        word for name, value in image.labels.items() for word in ("--label", f"{name}={value}")
    ]
    argv += [
        word
        for name, path in image.secrets.items()
        for word in ("--secret", process.csv_line(f"id={name}", f"src={path}"))
    ]
    _run(engine, [*argv, str(image.context)], doing=f"build {image.tag}", on_line=on_line)


def _run(engine: Engine, argv: list[str], *, doing: str, on_line: Callable[[str], None]) -> None:
    try:
        process.stream(
            argv, doing=doing, on_line=on_line, options=process.Options(env=engine.environment)
        )
    except CommandError as error:
        raise BuildError(
            error.message, details=failing_step(error.tail), hint=hint_for(error.tail)
        ) from error


def has_plugin(engine: Engine, plugin: str) -> bool:
    """Whether the docker command line has a plugin: buildx or compose."""
    argv = ["docker", plugin, "version"]
    try:
        process.capture(
            argv, doing=f"look for docker {plugin}", options=process.Options(env=engine.environment)
        )
    except CommandError:
        return False
    return True


def failing_step(output: str) -> str:
    """What the step that failed printed, and where it stands: BuildKit says that three times over.

    All of the output where no step failed.
    """
    failed = _FAILED.search(output)
    if not failed:
        return output
    lines = output.splitlines()
    step = [line for line in lines if line.startswith(f"#{failed[1]} ")]
    place = next(
        (number for number, line in enumerate(lines) if _PLACE.fullmatch(line)), len(lines)
    )
    excerpt = [line for line in lines[place:] if not line.startswith("ERROR: failed to ")]
    return "\n".join([*step, *excerpt])


def hint_for(output: str) -> str:
    """What to do about a failed build, from what it printed last."""
    if "no space left on device" in output.lower():
        return (
            "the engine's disk is full: `docker system df` shows what takes it, `docker builder prune` frees the build cache, "
            "`./run inv cache.clean` all that this project keeps; then run the same command again"
        )
    if "CERTIFICATE_VERIFY_FAILED" in output or "certificate verify failed" in output:
        return "a proxy intercepts TLS: name the bundle that trusts it in DELIVERY_BUILD_CA, then run the same command again"
    if "Temporary failure resolving" in output or "Name or service not known" in output:
        return "the build cannot reach its package mirrors: check the network and DNS of containers"
    return "the lines above are the failing step's; mend it and run the same command again"
