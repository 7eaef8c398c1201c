"""templates/components/configmap.yaml."""

from __future__ import annotations

from support import alone, find, render


def test_config_is_in_a_config_map() -> None:
    documents = render(alone(config={"PORT": "3306", "VERSION": "1.20", "NONE": None}))
    data = find(documents, "ConfigMap", "platform-web")["data"]
    assert data == {"PORT": "3306", "VERSION": "1.20"}


def test_files_are_in_a_config_map_of_their_volume() -> None:
    content = "[a]\nb = {{ not.helm }}\n"
    documents = render(
        alone(volumes={"settings": {"mountPath": "/etc/web", "files": {"web.ini": content}}})
    )
    assert find(documents, "ConfigMap", "platform-web-settings")["data"] == {"web.ini": content}
