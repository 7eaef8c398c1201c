"""The wheels of the locks have Helm and kubectl."""

import re
import subprocess
from pathlib import Path

import pytest

from delivery.host import programs, wheel
from delivery.machine import platform

pytestmark = pytest.mark.engine


@pytest.mark.skipif(
    platform() != wheel.ARCHITECTURE, reason=f"the wheels' programs are {wheel.ARCHITECTURE}'s"
)
@pytest.mark.parametrize(("lock", "helm"), [("kubernetes", "v4"), ("helm3", "v3")])
def test_the_locked_wheels_have_helm_and_kubectl(
    lock: str, helm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HELM", "HELM3"):
        monkeypatch.delenv(name, raising=False)
    # With an empty PATH the wheel is used, which is unpacked once per machine.
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = Path(programs.ensure({"kubernetes": "helm", "helm3": "helm3"}[lock])).parent
    assert folder.name.startswith(f"{lock}-")

    def run(program: str, *arguments: str) -> str:
        argv = [str(folder / program), *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    assert re.match(rf"{helm}\.\d+\.\d+", run("helm", "version", "--short"))
    assert re.search(r"Client Version: v1\.3[345]", run("kubectl", "version", "--client"))
