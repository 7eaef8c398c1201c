"""templates/components/configmap.yaml."""

from __future__ import annotations

from support import alone, find, render


def test_config_is_in_a_config_map_as_text() -> None:
    documents = render(alone(config={"PORT": 3306, "BIG": 1000000, "ON": True, "NONE": None}))
    data = find(documents, "ConfigMap", "platform-web")["data"]
    assert data == {"PORT": "3306", "BIG": "1000000", "ON": "true"}


def test_files_are_in_a_config_map_of_their_volume() -> None:
    content = "[a]\nb = {{ not.helm }}\n"
    documents = render(
        alone(volumes={"settings": {"mountPath": "/etc/web", "files": {"web.ini": content}}})
    )
    assert find(documents, "ConfigMap", "platform-web-settings")["data"] == {"web.ini": content}
