"""The JSON schema and the reference page of delivery.toml, both made from the models.

`python -m delivery.project.schema` writes them.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from delivery.project.declaration import Declaration, model_of

__all__ = ["PAGE", "SCHEMA", "described_keys", "render_page", "render_schema"]

PAGE = "docs/delivery-toml.md"
SCHEMA = "docs/delivery.schema.json"
_INTRODUCTION = """\
# delivery.toml

The parts of this project, their upstream images, and the environments.

```sh
./run inv plan                            # reads it; every mistake is reported with its line
./run python -m delivery.project.schema   # writes this page and delivery.schema.json
```

Do not edit this page: it is made from the models in `delivery/project/declaration.py`. An unknown
key is an error. Editors with taplo complete and check the file by `docs/delivery.schema.json`.
`NAME` is any name of your own.
"""


def render_schema() -> str:
    """The JSON schema of delivery.toml."""
    return json.dumps(Declaration.model_json_schema(), indent=2) + "\n"


def render_page() -> str:
    """The reference of delivery.toml in Markdown: an entry for each key."""
    page, section = _INTRODUCTION, ""
    for key, description in described_keys():
        table = key.partition(".")[0]
        if table != section:
            page += f"\n## {table}\n\n"
            section = table
        page += textwrap.fill(f"- `{key}`: {description}", 100, subsequent_indent="  ") + "\n"
    return page


def described_keys() -> Iterator[tuple[str, str]]:
    """Each key that delivery.toml may have, with its description."""
    for name, field in Declaration.model_fields.items():
        model = model_of(field.annotation)
        if model is None:
            yield name, field.description or ""
            continue
        is_map = getattr(field.annotation, "__origin__", None) is dict
        prefix = f"{name}.NAME" if is_map else name
        for key, inner in model.model_fields.items():
            yield f"{prefix}.{key}", inner.description or ""


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    (root / PAGE).write_text(render_page(), encoding="utf-8")
    (root / SCHEMA).write_text(render_schema(), encoding="utf-8")
