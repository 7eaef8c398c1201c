"""The command lines of compose, and how its output is read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery.errors import PlatformError
from delivery.platform.compose import Compose
from tests.engines import fake_engine

PLAIN = ["docker", "compose", "--ansi", "never", "--progress", "plain"]
PLAIN += ["--file", "docker-compose.yaml"]
START = [*PLAIN, "--profile", "*"]
BRING_UP = ["up", "--detach", "--wait", "--wait-timeout", "300", "--remove-orphans"]
UP = [*PLAIN, *BRING_UP]
CONTAINER = {
    "Service": "kafka",
    "ID": "c1",
    "State": "running",
    "Health": "healthy",
    "Image": "apache/kafka:4.1.1",
    "Publishers": [{"PublishedPort": 9092}, {"PublishedPort": 9092}, {"PublishedPort": 0}],
}


@pytest.fixture
def project(tmp_path: Path) -> Compose:
    variables = {"KAFKA_IMAGE": "apache/kafka:4.1.1"}
    return Compose(fake_engine(), "sample", tmp_path, ("docker-compose.yaml",), variables)


def test_up_waits_until_all_services_are_healthy(project: Compose, fp: FakeProcess) -> None:
    fp.register(UP, stdout=["Container kafka Healthy"])
    lines: list[str] = []
    project.up(lines.append)
    assert [line.strip() for line in lines] == ["Container kafka Healthy"]


def test_an_unhealthy_service_is_named_with_its_last_log_lines(
    project: Compose, fp: FakeProcess
) -> None:
    fp.register(UP, returncode=1, stdout=["container kafka is unhealthy"])
    fp.register(
        [*START, "ps", "--all", "--format", "json"],
        stdout=[json.dumps({**CONTAINER, "Health": "unhealthy"})],
    )
    fp.register(
        [*START, "logs", "--no-color", "--no-log-prefix", "--tail", "15", "kafka"],
        stdout=["no leader"],
    )
    with pytest.raises(
        PlatformError, match="cannot start the platform: kafka did not become healthy"
    ) as caught:
        project.up(lambda _: None)
    assert "no leader" in caught.value.details


@pytest.mark.parametrize(("volumes", "more"), [(False, []), (True, ["--volumes"])])
def test_down_keeps_the_volumes_by_default(
    project: Compose, fp: FakeProcess, *, volumes: bool, more: list[str]
) -> None:
    fp.register([*START, "down", "--remove-orphans", *more])
    project.down(lambda _: None, volumes=volumes)
    assert fp.call_count([*START, "down", "--remove-orphans", *more]) == 1


def test_services_are_read_from_ps(project: Compose, fp: FakeProcess) -> None:
    fp.register([*START, "ps", "--all", "--format", "json"], stdout=[json.dumps(CONTAINER)])
    (service,) = project.services()
    assert (service.name, service.state, service.health, service.ports) == (
        "kafka",
        "running",
        "healthy",
        (9092,),
    )


def test_ports_and_services_are_read_from_config(project: Compose, fp: FakeProcess) -> None:
    declared = {
        "services": {"kafka": {"ports": [{"published": "9092"}]}, "worker": {"ports": None}}
    }
    fp.register([*PLAIN, "config", "--format", "json"], stdout=[json.dumps(declared)])
    assert project.ports() == [("kafka", 9092)]
    fp.register([*START, "config", "--format", "json"], stdout=[json.dumps(declared)])
    assert project.declared() == ["kafka", "worker"]


def test_profiles_select_the_services_and_ports_of_up(project: Compose, fp: FakeProcess) -> None:
    monitored = replace(project, profiles=("monitoring",))
    fp.register(
        [*PLAIN, "--profile", "monitoring", "config", "--format", "json"],
        stdout=['{"services": {}}'],
    )
    assert monitored.ports() == []
    fp.register([*PLAIN, "--profile", "monitoring", *BRING_UP])
    monitored.up(lambda _: None)
    assert fp.call_count([*PLAIN, "--profile", "monitoring", *BRING_UP]) == 1


def test_logs_are_plain_lines(project: Compose, fp: FakeProcess) -> None:
    fp.register(
        [*START, "logs", "--tail", "5", "--follow", "kafka"], stdout=["\x1b[2Kkafka-1  | started"]
    )
    lines: list[str] = []
    project.logs(["kafka"], lines.append, follow=True, tail=5)
    assert lines == ["kafka-1  | started"]


def test_the_projects_name_overrides_the_one_in_the_files(
    project: Compose, fp: FakeProcess
) -> None:
    recorder = fp.register([*START, "down", "--remove-orphans"])
    project.down(lambda _: None, volumes=False)
    assert (recorder.calls[0].kwargs or {})["env"]["COMPOSE_PROJECT_NAME"] == "sample"
