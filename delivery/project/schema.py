"""What editors and docs/ARCHITECTURE.md say about delivery.toml, from the models: `python -m delivery.project.schema`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from delivery.project.declaration import Declaration, model_of

__all__ = ["render", "with_table"]

_TABLE = re.compile(r"(?<=\| key \| what it says \|\n\|---\|---\|\n)(?:\|.*\n)+")


def render() -> str:
    """The JSON schema of delivery.toml."""
    return json.dumps(Declaration.model_json_schema(), indent=2) + "\n"


def with_table(page: str) -> str:
    """The page with its table of keys made from the models."""
    table = "".join(f"| `{key}` | {description} |\n" for key, description in _keys())
    return _TABLE.sub(lambda _: table, page)


def _keys() -> list[tuple[str, str]]:
    keys = list[tuple[str, str]]()
    for name, field in Declaration.model_fields.items():
        model = model_of(field.annotation)
        if model is None:
            keys.append((name, field.description or ""))
            continue
        prefix = (
            name if field.annotation is model or not _is_map(field.annotation) else f"{name}.NAME"
        )
        keys += [
            (f"{prefix}.{key}", inner.description or "")
            for key, inner in model.model_fields.items()
        ]
    return keys


def _is_map(annotation: object) -> bool:
    return getattr(annotation, "__origin__", None) is dict


def _write(root: Path) -> None:
    page = root / "docs" / "ARCHITECTURE.md"
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
    (root / "docs" / "delivery.schema.json").write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    _write(Path(__file__).resolve().parents[2])
