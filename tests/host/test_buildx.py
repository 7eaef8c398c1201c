"""The bake file, and the hints of a failed build."""

import dataclasses
import json
from pathlib import Path

import pytest

from delivery.host.buildx import Target, bake_file, failing_step, hint_for

TARGET = Target(
    name="app",
    context=Path("/clone/app"),
    layout=Path("/clone/.delivery/layouts/app"),
    tag="localhost:5001/app:k",
    arguments={"A": "1"},
    contexts={"base": "target:base"},
)


def test_layouts_get_rewritten_timestamps() -> None:
    file = bake_file([TARGET], {"build-ca": Path("/ca.pem")}, oci=True)
    assert file == {
        "group": {"default": {"targets": ["app"]}},
        "target": {
            "app": {
                "context": "/clone/app",
                "args": {"A": "1"},
                "contexts": {"base": "target:base"},
                "labels": {},
                "secret": ["id=build-ca,src=/ca.pem"],
                "tags": ["localhost:5001/app:k"],
                "output": [
                    "type=oci,tar=false,dest=/clone/.delivery/layouts/app,rewrite-timestamp=true"
                ],
            }
        },
    }


def test_an_engine_gets_images_without_layouts() -> None:
    recipe = Target(name="kafka", context=Path("/recipe"), tag="apache/kafka:4.1.1")
    for target, oci in ((TARGET, False), (recipe, True)):
        assert "'output': ['type=docker']" in str(bake_file([target], {}, oci=oci))


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("write /var/lib/x: no space left on device", "free disk space"),
        ("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED]", "DELIVERY_BUILD_CA"),
        ("Temporary failure resolving 'mirror'", "check the network"),
        ("exit code: 1", "correct the step"),
    ],
)
def test_a_failed_build_has_a_hint(output: str, hint: str) -> None:
    assert hint in hint_for(output)


def test_a_path_may_have_a_comma() -> None:
    target = dataclasses.replace(TARGET, layout=Path("/a, b/app"))
    content = str(bake_file([target], {"build-ca": Path("/c,d")}, oci=True))
    assert '"dest=/a, b/app"' in content
    assert 'id=build-ca,"src=/c,d"' in content


OUTPUT = """\
#8 [build 1/9] FROM docker.io/library/debian:trixie-slim
#8 CACHED

#6 [internal] load build context
#6 DONE 0.0s

#9 [build 2/9] RUN echo broken; exit 7
#9 0.158 broken
#9 ERROR: process "/bin/sh -c echo broken; exit 7" did not complete successfully: exit code: 7
------
 > [build 2/9] RUN echo broken; exit 7:
0.158 broken
------
Dockerfile:6
--------------------
   5 |     FROM debian AS build
   6 | >>> RUN echo broken; exit 7
--------------------
ERROR: failed to solve: process "/bin/sh -c echo broken; exit 7" did not complete: exit code: 7
"""


def test_the_output_of_a_failed_step_comes_once() -> None:
    assert failing_step(OUTPUT).splitlines() == [
        "#9 [build 2/9] RUN echo broken; exit 7",
        "#9 0.158 broken",
        *(line for line in OUTPUT.splitlines() if line.startswith("#9 ERROR")),
        "Dockerfile:6",
        "--------------------",
        "   5 |     FROM debian AS build",
        "   6 | >>> RUN echo broken; exit 7",
        "--------------------",
    ]


def test_without_a_failed_step_the_whole_output_comes() -> None:
    assert failing_step("ERROR: no builder\nno such host") == "ERROR: no builder\nno such host"


@pytest.mark.parametrize("dated", [True, False])
def test_only_layers_that_the_dockerfile_does_not_date_are_written_again(*, dated: bool) -> None:
    image = dataclasses.replace(TARGET, dated=dated)
    target = bake_file([image], {}, oci=True)["target"]
    assert ("rewrite-timestamp=true" not in str(target)) is dated


def test_an_image_for_other_platforms_names_them() -> None:
    image = dataclasses.replace(TARGET, platforms=("linux/amd64", "linux/arm64"))
    content = json.dumps(bake_file([image], {}, oci=True))
    assert '"platforms": ["linux/amd64", "linux/arm64"]' in content
