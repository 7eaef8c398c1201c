"""templates/_validate.tpl: mistakes are reported together, before anything else can fail."""

from __future__ import annotations

import os
from typing import Any

import pytest
from support import CHART, alone, fails, helm, helms, render

TLS = {
    "ports": {"http": 80},
    "service": {"enabled": True},
    "tls": {"enabled": True, "backendPort": "http"},
}
CERT_MANAGER = {"enabled": True, "issuerRef": {"name": "ca"}}
OFF = {"enabled": False}

MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        {"existingSecret": "x"},
        "tls: existingSecret and selfSigned are set; keep one",
    ),
    (
        {"certManager": CERT_MANAGER},
        "tls: certManager and selfSigned are set; keep one",
    ),
    (
        {"existingSecret": "x", "certManager": CERT_MANAGER, "selfSigned": OFF},
        "tls: existingSecret and certManager are set; keep one",
    ),
    ({"selfSigned": OFF}, "tls: no certificate for web;"),
    (
        {"certManager": {"enabled": True}, "selfSigned": OFF},
        "tls.certManager.issuerRef.name: it is empty",
    ),
    (
        {
            "certManager": CERT_MANAGER | {"duration": "24h", "renewBefore": "24h"},
            "selfSigned": OFF,
        },
        "tls.certManager.renewBefore: 24h is not less than duration (24h)",
    ),
    (
        {"selfSigned": {"days": 30, "renewBeforeDays": 30}},
        "tls.selfSigned.renewBeforeDays: 30 is not less than days (30)",
    ),
    (
        {"selfSigned": {"days": 300, "renewBeforeDays": 65, "caDays": 365}},
        "tls.selfSigned.caDays: 365 is not more than",
    ),
    ({"publicCA": True}, "tls.publicCA: the CA of a self-signed certificate is not public;"),
]


@pytest.mark.parametrize(("tls", "said"), MISTAKES)
def test_a_mistake_about_the_certificate(tls: dict[str, Any], said: str) -> None:
    assert f"\n\none mistake in the values:\n\n  - {said}" in fails(alone(**TLS) | {"tls": tls})


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (
            {"tls": {"enabled": True}},
            "components.web.tls.backendPort: it is empty;",
        ),
        (
            {"tls": {"enabled": True, "backendPort": "htp"}},
            "components.web.tls.backendPort: there is no port htp; name one of http",
        ),
        (
            {"ports": {"http": 8443}},
            "components.web.tls.backendPort: the proxy listens on 8443",
        ),
    ],
)
def test_a_mistake_about_a_component_with_tls(component: dict[str, Any], said: str) -> None:
    assert f"\n\none mistake in the values:\n\n  - {said}" in fails(alone(**(TLS | component)))


def test_the_limits_themselves_are_no_mistake() -> None:
    render(
        alone(**TLS) | {"tls": {"selfSigned": {"days": 300, "renewBeforeDays": 64, "caDays": 365}}}
    )
    render(alone(**TLS) | {"tls": {"existingSecret": "x", "selfSigned": OFF, "publicCA": True}})
    # Nothing speaks TLS: no certificate is needed.
    render(alone() | {"tls": {"selfSigned": OFF}})


def test_the_image_of_the_tests_needs_a_tag_or_a_digest() -> None:
    assert "- tests.image: it has neither a tag nor a digest" in fails(
        {"tests": {"image": {"repository": "python"}}}
    )


@pytest.mark.parametrize("program", helms(), ids=os.path.basename)
def test_mistakes_of_all_parts_are_reported_together_and_first(program: str) -> None:
    settings = [
        "tls.existingSecret=x",  # ours
        "components.api-rest.tls.backendPort=htp",  # ours, and what templates of components would stumble over
        "components.api-rest.capacityType.require=ondemand",  # the components', which has `prefer` already
        "kafka.enabled=false",  # the backends'
    ]
    said = helm(
        "template", "platform", str(CHART), "--set", ",".join(settings), program=program
    ).stderr
    assert "5 mistakes in the values:" in said
    listed = [
        line.split(":")[0].strip(" -") for line in said.splitlines() if line.startswith("  - ")
    ]
    assert listed == [
        "tls",
        "components.api-rest.tls.backendPort",
        "components.api-rest.capacityType",
        "components.api-rest.uses",
        "components.async-worker.uses",
    ]


def test_the_tests_stay_out_where_the_component_that_they_ask_was_taken_out() -> None:
    documents = render({"components": {"api-rest": None}})
    assert [document for document in documents if document["kind"] == "Pod"] == []
    assert "there is no component web" in fails({"tests": {"component": "web"}})
