"""YAML as Kubernetes, kustomize and Jenkins read it: a duplicate key is an error."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["load", "load_all"]


class _Strict(yaml.SafeLoader):
    """Refuses duplicate keys, of which PyYAML keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        duplicates = sorted({key[1] for key in keys if keys.count(key) > 1})
        if duplicates:
            message = f"found {', '.join(duplicates)} more than once"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:  # any YAML
    """The content of a YAML text."""
    return yaml.load(text, Loader=_Strict)  # noqa: S506  # a SafeLoader


def load_all(text: str) -> list[Any]:
    """The documents of a YAML text, without empty ones."""
    return [document for document in yaml.load_all(text, Loader=_Strict) if document]
