"""templates/components/scaledobject.yaml: KEDA scales by the lag of a consumer group."""

from __future__ import annotations

from typing import Any

import pytest
from support import Document, fails, find, names, render

KEDA = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}
LAG = {"topic": "deployments", "consumerGroup": "async-worker", "lagThreshold": 1000000}
NAME = "platform-async-worker"


def values(kafka: dict[str, Any] | None = None, **scaling: Any) -> dict[str, Any]:
    own = {"enabled": True, "max": 3, "cpu": None, "kafka": LAG, **scaling}
    return {
        "components": {"async-worker": {"scaling": own}},
        "kafka": {"allowFrom": [KEDA], **(kafka or {})},
    }


def trigger(documents: list[Document], kind: str = "kafka") -> Document:
    spec = find(documents, "ScaledObject", NAME)["spec"]
    (found,) = [each for each in spec["triggers"] if each["type"] == kind]
    return dict(found)


def test_by_default_there_is_none() -> None:
    assert names(render(), "ScaledObject") == []


def test_it_takes_the_place_of_the_autoscaler_and_keeps_its_name() -> None:
    """platform.component.replicas looks for the autoscaler by that name."""
    documents = render(values(behavior={"scaleDown": {"stabilizationWindowSeconds": 5}}))
    assert NAME not in names(documents, "HorizontalPodAutoscaler")
    scaled = find(documents, "ScaledObject", NAME)
    transfer = {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}
    assert scaled["metadata"]["annotations"] == transfer
    spec = scaled["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 3)
    autoscaler = spec["advanced"]["horizontalPodAutoscalerConfig"]
    assert autoscaler["name"] == NAME
    assert autoscaler["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 5}}


def test_the_trigger_is_the_lag() -> None:
    documents = render(values())
    assert trigger(documents) == {
        "type": "kafka",
        "metadata": {
            "bootstrapServers": "platform-kafka.test.svc:9092",
            "topic": "deployments",
            "consumerGroup": "async-worker",
            "lagThreshold": "1000000",
            "offsetResetPolicy": "earliest",
        },
    }
    assert names(documents, "TriggerAuthentication") == []


def test_the_load_counts_too() -> None:
    documents = render(values(cpu=80))
    assert trigger(documents, "cpu")["metadata"] == {"value": "80"}


def test_login_and_ca_are_read_from_secrets() -> None:
    documents = render(values({"auth": {"enabled": True}, "tls": {"enabled": True}}))
    own = trigger(documents)
    assert own["metadata"]["sasl"] == "scram_sha512"
    assert own["metadata"]["tls"] == "enable"
    assert own["authenticationRef"] == {"name": NAME}
    references = find(documents, "TriggerAuthentication", NAME)["spec"]["secretTargetRef"]
    assert [(each["parameter"], each["key"]) for each in references] == [
        ("username", "username"),
        ("password", "password"),
        ("ca", "ca.crt"),
    ]


def test_an_external_kafka() -> None:
    external = {
        "bootstrapServers": ["a:1", "b:2"],
        "securityProtocol": "SASL_PLAINTEXT",
        "saslMechanism": "PLAIN",
        "existingSecret": "login",
    }
    documents = render({**values({"enabled": False}), "externalKafka": external})
    metadata = trigger(documents)["metadata"]
    assert metadata["bootstrapServers"] == "a:1,b:2"
    assert metadata["sasl"] == "plaintext"
    assert "tls" not in metadata
    references = find(documents, "TriggerAuthentication", NAME)["spec"]["secretTargetRef"]
    assert {each["name"] for each in references} == {"login"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (values(kafka={"topic": "t"}) | {"kafka": {}}, "kafka.allowFrom"),
        (values(metrics=[{"type": "Pods"}]), "scaling.metrics"),
    ],
)
def test_a_mistake_is_refused(wrong: dict[str, Any], message: str) -> None:
    assert message in fails(wrong)


def test_the_group_is_named_and_kafka_used() -> None:
    wrong = values()
    wrong["components"]["async-worker"] |= {"uses": []}
    wrong["components"]["async-worker"]["scaling"]["kafka"] = {"topic": "t"}
    message = fails(wrong)
    assert "scaling.kafka.consumerGroup: it is empty" in message
    assert "scaling.kafka: it needs Kafka" in message
