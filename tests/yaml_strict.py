"""YAML as Kubernetes, kustomize and Jenkins read it: a key that a mapping has twice is an error."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["load", "load_all"]


class _Strict(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, of which PyYAML keeps only the last."""

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002  # PyYAML's own
    ) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key[1] for key in keys if keys.count(key) > 1})
        if twice:
            message = f"found {', '.join(twice)} more than once"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:  # noqa: ANN401  # whatever the YAML holds
    """Return what a YAML text holds."""
    return yaml.load(text, Loader=_Strict)  # noqa: S506  # a SafeLoader


def load_all(text: str) -> list[Any]:
    """Return the documents of a YAML text that are not empty."""
    return [document for document in yaml.load_all(text, Loader=_Strict) if document]
