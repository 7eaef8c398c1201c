"""The chart as it is published: the version it says, and our images by digest as its default values."""

from __future__ import annotations

import re
from collections.abc import Mapping

from delivery.core.errors import DeclarationError

__all__ = ["tag_of", "with_images", "with_tags", "with_versions"]

# As the chart's values have it: one line a component, so that it can be found and read.
_IMAGE = r"image: \{{repository: (?P<repository>\S+/)?{name}, tag: (?P<tag>[^,}}]+), digest: (?P<digest>[^,}}]*)\}}"


def with_versions(chart: str, version: str, application: str = "") -> str:
    """Chart.yaml's text with this version, and with this appVersion when one is told."""
    for field, value in (("version", version), ("appVersion", application)):
        if not value:
            continue
        chart, found = re.subn(rf"^{field}: .*$", f"{field}: {value}", chart, flags=re.MULTILINE)
        if found != 1:
            raise DeclarationError(
                f"write {field} {value} into Chart.yaml: it has {found} lines `{field}: …`",
                hint="one such line, at the beginning of a line, is needed",
            )
    return chart


def with_images(values: str, images: Mapping[str, tuple[str, str, str]]) -> str:
    """values.yaml's text with each component's image as (repository, tag, digest)."""
    for name, (repository, tag, digest) in images.items():
        values = _replaced(
            values, name, f'image: {{repository: {repository}, tag: "{tag}", digest: "{digest}"}}', digest[:19]
        )
    return values


def with_tags(values: str, tags: Mapping[str, str]) -> str:
    """values.yaml's text with each component's image under this tag, its repository as it was."""
    for name, tag in tags.items():
        found = re.search(_IMAGE.format(name=re.escape(name)), values)
        repository = f"{(found and found['repository']) or ''}{name}"
        values = _replaced(values, name, f'image: {{repository: {repository}, tag: {tag}, digest: ""}}', tag)
    return values


def tag_of(values: str, name: str) -> str:
    """The tag that a component's image has in values.yaml's text; "" where that says none."""
    found = re.search(_IMAGE.format(name=re.escape(name)), values)
    return found["tag"].strip('"') if found else ""


def _replaced(values: str, name: str, line: str, what: str) -> str:
    changed, found = re.subn(_IMAGE.format(name=re.escape(name)), lambda _: line, values)
    if found != 1:
        raise DeclarationError(
            f"write the image {name} {what} into the chart's values.yaml: it is there {found} times",
            hint=f'one line `image: {{repository: …/{name}, tag: …, digest: ""}}` is needed',
        )
    return changed
