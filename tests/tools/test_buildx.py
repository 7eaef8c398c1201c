"""What is asked of BuildKit, and what a failed build means."""

import dataclasses
from pathlib import Path

import pytest

from delivery.tools.buildx import Target, bake_file, hint_for

TARGET = Target(
    name="app",
    context=Path("/clone/app"),
    layout=Path("/clone/.delivery/layouts/app"),
    tag="localhost:5001/app:k",
    arguments={"A": "1"},
    contexts={"base": "target:base"},
)


def test_a_layout_is_written_with_its_times_set() -> None:
    file = bake_file([TARGET], {"build-ca": Path("/ca.pem")}, oci=True)
    assert file == {
        "group": {"default": {"targets": ["app"]}},
        "target": {
            "app": {
                "context": "/clone/app",
                "args": {"A": "1"},
                "contexts": {"base": "target:base"},
                "secret": ["id=build-ca,src=/ca.pem"],
                "tags": ["localhost:5001/app:k"],
                "output": ["type=oci,tar=false,dest=/clone/.delivery/layouts/app,rewrite-timestamp=true"],
            }
        },
    }


def test_an_engine_without_layouts_keeps_the_image() -> None:
    assert "'output': ['type=docker']" in str(bake_file([TARGET], {}, oci=False))


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("write /var/lib/x: no space left on device", "the engine's disk is full"),
        ("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED]", "DELIVERY_BUILD_CA"),
        ("Temporary failure resolving 'mirror'", "check the network"),
        ("exit code: 1", "the lines above"),
    ],
)
def test_says_what_to_do_about_a_failed_build(output: str, hint: str) -> None:
    assert hint in hint_for(output)


def test_a_path_may_hold_a_comma() -> None:
    target = dataclasses.replace(TARGET, layout=Path("/a, b/app"))
    made = bake_file([target], {"build-ca": Path("/c,d")}, oci=True)
    assert '"dest=/a, b/app"' in str(made)
    assert 'id=build-ca,"src=/c,d"' in str(made)
