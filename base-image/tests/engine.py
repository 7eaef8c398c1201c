"""The Docker engine, by its command line."""

import os
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT = 300

Done = subprocess.CompletedProcess[str]


def docker(*arguments: str, check: bool = True) -> Done:
    """Run a docker command; a failure shows its output."""
    done = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert not check or done.returncode == 0, (
        f"docker {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    )
    return done


@dataclass
class Engine:
    """Builds with DEBIAN_IMAGE and BUILD_CA, if the machine needs them. Notes what to remove."""

    tags: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)

    def build(self, context: Path, *arguments: str, check: bool = True) -> Done:
        settings = []
        if "DEBIAN_IMAGE" in os.environ:
            settings.append(f"--build-arg=DEBIAN_IMAGE={os.environ['DEBIAN_IMAGE']}")
        if "BUILD_CA" in os.environ:
            settings.append(f"--secret=id=build-ca,src={os.environ['BUILD_CA']}")
        return docker(
            "buildx", "build", "--progress=plain", *settings, *arguments, str(context), check=check
        )

    def load(self, name: str, context: Path, *arguments: str) -> str:
        """Build an image into the engine; return its tag, which no other test run has."""
        tag = f"bi-test-{name}:{uuid.uuid4().hex[:12]}"
        self.tags.append(tag)
        self.build(context, "--load", "--tag", tag, *arguments)
        return tag

    def start(self, image: str) -> str:
        """Start a container that waits until the end of the tests; return its name."""
        name = f"bi-test-{uuid.uuid4().hex[:12]}"
        self.containers.append(name)
        docker("run", "--detach", "--name", name, image, "-c", "import signal; signal.pause()")
        return name

    def run(self, image: str, *arguments: str) -> str:
        """Run a container of an image and return its output."""
        return docker("run", "--rm", image, *arguments).stdout.rstrip("\n")
