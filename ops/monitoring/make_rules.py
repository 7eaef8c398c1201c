"""Make rules.yaml, the alerts for Prometheus beside docker compose, from the chart's: `python ops/monitoring/make_rules.py`."""  # noqa: INP001  # a script beside what it makes, no package

from __future__ import annotations

import re
from pathlib import Path

import yaml

__all__ = ["FILE", "made"]

_HERE = Path(__file__).resolve().parent
FILE = _HERE / "rules.yaml"
_CHART = _HERE.parents[1] / "platform-chart" / "files" / "monitoring" / "rules.yaml"
# What a selector of the chart's rules begins with: what tells the platform apart, here the label that prometheus.yaml sets.
_PODS = 'namespace="local"'
_HEAD = """\
# Made by make_rules.py from platform-chart/files/monitoring/rules.yaml: change it there.
# Without those of what does not run here, the chart's proxy: {left_out}.
# yamllint disable rule:line-length
"""


class _Dumper(yaml.SafeDumper):
    """YAML as the house writes it: lists are indented, and what has lines keeps them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  # PyYAML's own
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _text)


def made() -> str:
    """The text of rules.yaml."""
    # Helm's own braces: what a rule's selector begins with, and a string that holds Prometheus' braces.
    text = re.sub(r" *\{\{- \.pods \}\}", _PODS, _CHART.read_text(encoding="utf-8"))
    text = re.sub(r'\{\{ "(.+?)" \}\}', r"\1", text)
    rules = yaml.safe_load(text)
    kept = [rule for rule in rules if "haproxy_" not in rule["expr"]]
    left_out = ", ".join(rule["alert"] for rule in rules if rule not in kept)
    groups = {"groups": [{"name": "platform", "rules": kept}]}
    return _HEAD.format(left_out=left_out) + yaml.dump(
        groups, Dumper=_Dumper, sort_keys=False, width=1000
    )


if __name__ == "__main__":
    FILE.write_text(made(), encoding="utf-8")
