"""What is measured on: the processor time of a container, the images, and what has to be installed."""

from pathlib import Path

import pytest

from bench import stack as module
from bench.stack import BenchError, Container, Images, need, run

CONTAINER = Container("api", 42, "10.0.0.2")
OLD = "3:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n"


class Machine:
    """The folders in which Linux shows what a process has used."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def shows(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="ascii")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(module, "PROC", tmp_path / "proc")
    monkeypatch.setattr(module, "CGROUPS", tmp_path / "cgroup")
    return Machine(tmp_path)


def test_processor_time_of_one_hierarchy_is_in_microseconds(machine: Machine) -> None:
    machine.shows("proc/42/cgroup", "0::/system.slice/docker-abc.scope\n")
    machine.shows("cgroup/system.slice/docker-abc.scope/cpu.stat", "usage_usec 2500000\nuser_usec 1\nsystem_usec 2\n")
    assert CONTAINER.cpu_seconds() == 2.5


def test_processor_time_of_a_hierarchy_of_its_own_is_in_nanoseconds(machine: Machine) -> None:
    machine.shows("proc/42/cgroup", OLD)
    machine.shows("cgroup/cpuacct/docker/abc/cpuacct.usage", "1500000000\n")
    machine.shows("cgroup/cpu.stat", "usage_usec 99000000\n")
    assert CONTAINER.cpu_seconds() == 1.5


@pytest.mark.parametrize("stat", [None, "nr_periods 0\n"])
def test_a_machine_that_shows_no_processor_time_is_named(machine: Machine, stat: str | None) -> None:
    machine.shows("proc/42/cgroup", OLD)
    if stat:
        machine.shows("cgroup/cpu.stat", stat)
    with pytest.raises(BenchError, match="read the processor time of api"):
        CONTAINER.cpu_seconds()


def test_the_environment_names_the_images() -> None:
    assert Images.of({}) == Images("base-image", "api-rest", "async-worker", "ledger-bench-twins")
    told = {"BASE_IMAGE": "b@1", "API_REST_IMAGE": "a@2", "ASYNC_WORKER_IMAGE": "w@3"}
    assert Images.of(told) == Images("b@1", "a@2", "w@3", "ledger-bench-twins")


def test_all_that_is_missing_is_told_at_once_with_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").write_text("")
    (tmp_path / "there").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    need({"there": "there-cli"}, ("json",))
    with pytest.raises(BenchError, match=r"^find docker, wrk; on Debian: apt-get install docker-cli wrk$"):
        need({"there": "there-cli", "docker": "docker-cli", "wrk": "wrk"}, ("json",))


def test_a_module_that_is_missing_is_told_with_the_session_that_has_it() -> None:
    with pytest.raises(BenchError, match=r"find no_such_module, .*nox -s bench"):
        need({}, ("json", "no_such_module"))


def test_a_command_that_fails_says_how() -> None:
    with pytest.raises(BenchError, match=r"^sh -c echo no >&2; exit 3: exit 3: no$"):
        run("sh", "-c", "echo no >&2; exit 3", "more")


def test_a_command_gets_variables_beside_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_ONE", "1")
    assert run("sh", "-c", "echo $BENCH_ONE $BENCH_TWO", env={"BENCH_TWO": "2"}) == "1 2\n"
