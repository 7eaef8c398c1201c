"""templates/extra-objects.yaml."""

from __future__ import annotations

import textwrap

from support import alone, fails, find, render


def test_objects_are_maps_or_text_and_both_are_templates() -> None:
    map_ = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": '{{ include "platform.fullname" . }}-own'},
        "data": {"namespace": "{{ .Release.Namespace }}", "number": "1"},
    }
    text = textwrap.dedent("""
    apiVersion: v1
    kind: Secret
    metadata:
      name: text
      labels:
        {{- include "platform.labels" (dict "root" . "name" "text") | nindent 4 }}
    """)
    documents = render({**alone(), "extraObjects": [map_, text]})
    assert find(documents, "ConfigMap", "platform-own")["data"] == {
        "namespace": "test",
        "number": "1",
    }
    labels = find(documents, "Secret", "text")["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == "platform"


def test_there_are_none_by_default() -> None:
    assert [each["kind"] for each in render(alone()) if each["kind"] == "ConfigMap"] == []


def test_a_number_is_no_object() -> None:
    message = fails({"extraObjects": [1]})
    assert "- extraObjects[0]: 1 is a whole number, and a map or text is needed" in message


def test_keys_for_anchors_are_ignored() -> None:
    values = "x-image: &image {repository: own, tag: '2'}\ncomponents: {api-rest: {image: *image}}"
    deployment = find(render(values), "Deployment", "platform-api-rest")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "own:2"
