"""Make rules.yaml, the alerts for Prometheus beside docker compose, from the chart's alerts.

Run `python ops/monitoring/make_rules.py`.
"""
# ruff: noqa: INP001  a script, no package

from __future__ import annotations

import re
from pathlib import Path

import yaml

__all__ = ["FILE", "made"]

_HERE = Path(__file__).resolve().parent
FILE = _HERE / "rules.yaml"
_CHART = _HERE.parents[1] / "platform-chart" / "files" / "monitoring" / "rules.yaml"
# The selector of the platform's pods; prometheus.yaml sets this label.
_PODS = 'namespace="local"'
_HEAD = """\
# Made by make_rules.py from platform-chart/files/monitoring/rules.yaml: change it there.
# Without the alerts of the chart's proxy: {omitted}.
"""


class _Dumper(yaml.SafeDumper):
    """Indents lists, and keeps line breaks in texts."""

    def increase_indent(
        self,
        flow: bool = False,  # noqa: FBT001, FBT002  PyYAML's signature
        indentless: bool = False,  # noqa: ARG002, FBT001, FBT002  PyYAML's signature
    ) -> None:
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _text)


def made() -> str:
    """The text of rules.yaml."""
    # Helm's braces: a rule's selector, and strings with Prometheus' braces.
    text = re.sub(r" *\{\{- \.(?:api|worker|proxy) \}\}", _PODS, _CHART.read_text(encoding="utf-8"))
    text = re.sub(r'\{\{ "(.+?)" \}\}', r"\1", text)
    rules = yaml.safe_load(text)
    kept = [rule for rule in rules if "haproxy_" not in rule["expr"]]
    omitted = ", ".join(rule["alert"] for rule in rules if rule not in kept)
    groups = {"groups": [{"name": "platform", "rules": kept}]}
    return _HEAD.format(omitted=omitted) + yaml.dump(
        groups, Dumper=_Dumper, sort_keys=False, width=92
    )


if __name__ == "__main__":
    FILE.write_text(made(), encoding="utf-8")
