"""The Python package index is asked by uv, which runs nothing that it finds there."""

import sys

import pytest
from pytest_subprocess import FakeProcess
from uv import find_uv_bin

from delivery.scan import pypi

ASK = [
    *(find_uv_bin(), "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate"),
    *("--only-binary", ":all:", "--prerelease", "if-necessary"),
]
MISSING = [
    "error: No solution found when resolving dependencies",
    "  cause: Because x was not found",
]


def asked(version: str, *platform: str) -> list[str]:
    return [*ASK, "--python-version", version, "--no-python-downloads", *platform, "-"]


LINUX = asked("3.13", "--python-platform", "x86_64-unknown-linux-gnu")


@pytest.mark.parametrize(
    ("architecture", "platform"),
    [("arm64", ("--python-platform", "aarch64-unknown-linux-gnu")), ("riscv64", ())],
)
def test_wheels_are_those_for_the_images_platform(
    fp: FakeProcess, architecture: str, platform: tuple[str, ...]
) -> None:
    fp.register(asked("3.13", *platform), stdout=["bottle==0.13.4"])
    assert pypi.newest(["bottle"], "3.13", architecture) == {"bottle": "0.13.4"}


def test_an_image_that_does_not_tell_its_python_is_asked_for_with_ours(fp: FakeProcess) -> None:
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    fp.register(
        asked(ours, "--python-platform", "x86_64-unknown-linux-gnu"), stdout=["bottle==0.13.4"]
    )
    assert pypi.newest(["bottle"], "", "amd64") == {"bottle": "0.13.4"}
