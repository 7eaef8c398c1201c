"""The recipe of Kafka has the version in the declaration."""

import re
import tomllib
import xml.etree.ElementTree as ET

from delivery.project.files import ROOT

RECIPE = ROOT / "ops" / "upstream" / "kafka"


def test_the_locked_jars_have_the_version_of_the_image() -> None:
    upstream = tomllib.loads((ROOT / "delivery.toml").read_text())["upstream"]
    version = upstream["kafka"]["image"].partition(":")[2]
    properties = ET.parse(RECIPE / "pom.xml").find("{*}properties")  # noqa: S314  # own file
    assert properties is not None
    assert properties.findtext("{*}kafka.version") == version

    lines = (RECIPE / "jars.lock").read_text().splitlines()
    assert all(re.fullmatch("[0-9a-f]{64}  [^ ]+/[^ /]+[.]jar", line) for line in lines)
    jars = [line.rpartition("/")[2] for line in lines]
    assert len(set(jars)) == len(jars)
    of_kafka = [jar for jar in jars if jar.startswith("kafka")]
    assert [jar for jar in of_kafka if not jar.endswith(f"-{version}.jar")] == []
    assert f"kafka_2.13-{version}.jar" in jars
