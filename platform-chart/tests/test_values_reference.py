"""values.yaml is the reference of all values: a comment explains each."""

from __future__ import annotations

import re

import pytest
from support import CHART, load

# What Kubernetes calls so, or what means the same wherever it stands.
KNOWN = {
    "affinity", "annotations", "args", "enabled", "hostAliases", "image", "labels", "limits",
    "nodeSelector", "priorityClassName", "pullPolicy", "replicas", "requests", "resources",
    "tolerations", "topologySpreadConstraints", "workingDir",
}  # fmt: skip
# Values of the default components, topics and accounts: examples of what is explained elsewhere.
EXAMPLES = re.compile(
    r"components\.|.*\.(topics|accounts|affinity|tmp)\.|.*\.tmp$|networkPolicy\.dns\.to\."
    r"|drift\.kinds\."
)


def unexplained(text: str) -> set[str]:
    """Return the paths of keys that no comment explains.

    A comment explains the key below it, and each key that it names among the keys beside and inside
    that one.
    """
    missing = set()
    # The keys and comments above this line, by indentation.
    keys: dict[int, str] = {}
    comments: dict[int, str] = {}
    comment = ""
    for line in text.splitlines():
        if match := re.match(r" *# ?(.*)", line):
            comment += f" {match[1]}"
        elif match := re.match(r"( *)(?:- )?([\w.-]+):", line):
            indent, key = len(match[1]), match[2]
            keys = {level: each for level, each in keys.items() if level < indent} | {indent: key}
            comments = {level: each for level, each in comments.items() if level <= indent}
            comments[indent] = comment or comments.get(indent, "")
            named = re.search(rf"\b{re.escape(key)}\b", " ".join(comments.values()))
            if not (comment or named or key in KNOWN):
                missing.add(".".join(keys.values()))
            comment = ""
        elif not line.strip() and not keys:
            comment = ""
    return {path for path in missing if not EXAMPLES.match(path)}


def test_a_comment_explains_every_value() -> None:
    assert unexplained((CHART / "values.yaml").read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("a: 1", {"a"}),
        ("# What a is.\na: 1", set()),
        ("# What a is.\na:\n  b: 1", {"a.b"}),
        ("# Its b is.\na:\n  b: 1", set()),
        ("# Both a and b.\na: 1\nb: 1\nc: 1", {"c"}),
        ("# What a is.\na:\n  # Of b.\n  b: 1\nc: 1", {"c"}),
        ("# What a is.\na:\n  enabled: true", set()),
    ],
)
def test_a_missing_explanation_would_be_found(text: str, missing: set[str]) -> None:
    assert load(text)
    assert unexplained(text) == missing
