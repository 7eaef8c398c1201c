"""templates/_validate.tpl: mistakes are reported together, before any other template fails."""

from __future__ import annotations

import os

import pytest
from support import CHART, SECURED, alone, fails, helm, helms, load, of_kind, render

ISSUER = "{enabled: true, issuerRef: {name: ca}}"
ONE_DAY = "{enabled: true, issuerRef: {name: ca}, duration: 24h, renewBefore: 24h}"

MISTAKES = [
    ("existingSecret: x", "tls: existingSecret and selfSigned are set; keep one"),
    (f"certManager: {ISSUER}", "tls: certManager and selfSigned are set; keep one"),
    (
        f"{{existingSecret: x, certManager: {ISSUER}, selfSigned: {{enabled: false}}}}",
        "tls: existingSecret and certManager are set; keep one",
    ),
    ("selfSigned: {enabled: false}", "tls: no certificate for web;"),
    (
        "{certManager: {enabled: true}, selfSigned: {enabled: false}}",
        "tls.certManager.issuerRef.name: it is empty",
    ),
    (
        f"{{certManager: {ONE_DAY}, selfSigned: {{enabled: false}}}}",
        "tls.certManager.renewBefore: 24h is not less than duration (24h)",
    ),
    (
        "selfSigned: {days: 30, renewBeforeDays: 30}",
        "tls.selfSigned.renewBeforeDays: 30 is not less than days (30)",
    ),
    (
        "selfSigned: {days: 300, renewBeforeDays: 65, caDays: 365}",
        "tls.selfSigned.caDays: 365 is not more than",
    ),
    ("publicCA: true", "tls.publicCA: the CA of a self-signed certificate is not public;"),
]


@pytest.mark.parametrize(("tls", "message"), MISTAKES)
def test_a_mistake_in_the_certificate(tls: str, message: str) -> None:
    values = alone(**SECURED) | {"tls": load(tls)}
    assert f"\n\none mistake in the values:\n\n  - {message}" in fails(values)


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ("tls: {enabled: true}", "it is empty;"),
        ("tls: {enabled: true, backendPort: htp}", "there is no port htp; name one of http"),
        ("ports: {http: 8443}", "the proxy listens on 8443"),
    ],
)
def test_a_mistake_in_a_component_with_tls(component: str, message: str) -> None:
    values = alone(**(SECURED | load(component)))
    assert f"one mistake in the values:\n\n  - components.web.tls.backendPort: {message}" in fails(
        values
    )


def test_values_at_the_limits_are_rendered() -> None:
    selfsigned = {"days": 300, "renewBeforeDays": 64, "caDays": 365}
    render(alone(**SECURED) | {"tls": {"selfSigned": selfsigned}})
    bought = {"existingSecret": "x", "selfSigned": {"enabled": False}, "publicCA": True}
    render(alone(**SECURED) | {"tls": bought})
    # Without TLS, no certificate is needed.
    render(alone() | {"tls": {"selfSigned": {"enabled": False}}})


@pytest.mark.parametrize("program", helms(), ids=os.path.basename)
def test_mistakes_of_all_parts_are_reported_together_and_first(program: str) -> None:
    values = """
        tls: {existingSecret: x}
        components:
          api-rest: {tls: {backendPort: htp}, capacityType: {require: ondemand}}
        kafka: {enabled: false}
        """
    message = helm(
        "template", "x", str(CHART), "--values", "-", program=program, stdin=values
    ).stderr
    assert "5 mistakes in the values:" in message
    mistakes = [line for line in message.splitlines() if line.startswith("  - ")]
    assert [mistake.split(":")[0].strip(" -") for mistake in mistakes] == [
        "tls",
        "components.api-rest.tls.backendPort",
        "components.api-rest.capacityType",
        "components.api-rest.uses",
        "components.async-worker.uses",
    ]


def test_helm_test_needs_a_component_and_an_image() -> None:
    # Without api-rest, the default, there are no tests.
    assert of_kind(render("components: {api-rest: null}"), "Pod") == []
    assert "there is no component web" in fails("tests: {component: web}")
    message = fails("tests: {image: {repository: python}}")
    assert "- tests.image: it has neither a tag nor a digest" in message
