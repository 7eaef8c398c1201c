"""The processor time of a container."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ops.bench import stack as module
from ops.bench.stack import BenchError, Container

CONTAINER = Container("api", 42, "10.0.0.2")
OLD = "3:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Makes the files in which Linux shows the processor time of a process."""
    monkeypatch.setattr(module, "PROC", tmp_path / "proc")
    monkeypatch.setattr(module, "CGROUPS", tmp_path / "cgroup")

    def show(files: dict[str, str]) -> None:
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="ascii")

    return show


NEW = {
    "proc/42/cgroup": "0::/system.slice/docker-abc.scope\n",
    "cgroup/system.slice/docker-abc.scope/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
}
OF_ITS_OWN = {
    "proc/42/cgroup": OLD,
    "cgroup/cpuacct/docker/abc/cpuacct.usage": "1500000000\n",
    "cgroup/cpu.stat": "usage_usec 99000000\n",
}
NONE = {"proc/42/cgroup": OLD, "cgroup/cpu.stat": "nr_periods 0\n"}


@pytest.mark.parametrize(("files", "seconds"), [(NEW, 2.5), (OF_ITS_OWN, 1.5)])
def test_processor_time_is_read_from_either_hierarchy(
    machine: Callable[[dict[str, str]], None], files: dict[str, str], seconds: float
) -> None:
    machine(files)
    assert CONTAINER.cpu_seconds() == seconds


def test_a_machine_without_processor_times_is_an_error(
    machine: Callable[[dict[str, str]], None],
) -> None:
    machine(NONE)
    with pytest.raises(BenchError, match="read the processor time of api"):
        CONTAINER.cpu_seconds()
