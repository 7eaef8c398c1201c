"""ops/monitoring/ agrees with the chart's alerts, the declared images and the apps' ports."""

from __future__ import annotations

import re
from typing import Any

from delivery.project.files import ROOT, load_declaration
from ops.monitoring import make_rules
from tests import yaml_strict


def read(path: str) -> Any:  # whatever YAML holds
    return yaml_strict.load((ROOT / path).read_text(encoding="utf-8"))


def chart_rules() -> dict[str, str]:
    """Each alert of the chart with its lines."""
    text = (ROOT / "platform-chart/files/monitoring/rules.yaml").read_text(encoding="utf-8")
    parts = re.split(r"^- alert: ", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0]: part for part in parts}


def test_the_alerts_are_made_from_the_charts() -> None:
    text = make_rules.FILE.read_text(encoding="utf-8")
    assert text == make_rules.made(), "run python ops/monitoring/make_rules.py"
    # All braces are Prometheus', around a label; none are Helm's.
    assert re.findall(r"\{\{(.*?)\}\}", text) == [
        f" $labels.{name} " for name in re.findall(r"\$labels\.(\w+)", text)
    ]


def test_all_alerts_but_the_proxys_select_the_labels_of_prometheus() -> None:
    (group,) = read("ops/monitoring/rules.yaml")["groups"]
    alerts = [rule["alert"] for rule in group["rules"]]
    of_the_proxy = [name for name, lines in chart_rules().items() if "haproxy_" in lines]
    assert of_the_proxy
    assert alerts == [name for name in chart_rules() if name not in of_the_proxy]
    scraped = read("ops/monitoring/prometheus.yaml")["scrape_configs"]
    (targets,) = next(job for job in scraped if job["job_name"] == "apps")["static_configs"]
    (label,) = [f'{name}="{value}"' for name, value in targets["labels"].items()]
    for rule in group["rules"]:
        selectors = re.findall(r"\{([^}]*)\}", rule["expr"])
        assert selectors
        assert [selector for selector in selectors if not selector.startswith(label)] == []


def test_the_recipe_has_the_declared_version() -> None:
    version = load_declaration().upstream["prometheus"].image.rpartition(":v")[2]
    recipe = (ROOT / "ops" / "upstream" / "prometheus" / "Dockerfile").read_text(encoding="utf-8")
    assert f"'prometheus, version {version}+'" in recipe
    assert f"prom/prometheus:v{version} image" in recipe


def test_the_apps_send_to_the_collectors_address() -> None:
    collector = read("ops/monitoring/collector-values.yaml")
    apps = read("ops/monitoring/traces-values.yaml")["components"]
    receiver = collector["config"]["receivers"]["otlp"]["protocols"]["http"]
    port = receiver["endpoint"].rpartition(":")[2]
    assert collector["ports"]["otlp-http"]["enabled"]
    assert set(apps) == set(load_declaration().components())
    for app in apps.values():
        assert app["config"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == (
            f"http://{collector['fullnameOverride']}.observability.svc:{port}"
        )
        (rule,) = app["networkPolicy"]["egress"]
        assert [str(port_rule["port"]) for port_rule in rule["ports"]] == [port]


def test_the_collectors_pipelines_name_existing_parts() -> None:
    values = read("ops/monitoring/collector-values.yaml")
    config = values["config"]
    # Parts of the chart and of its presets.
    known = {"batch", "k8sattributes"} | {
        name for part in ("receivers", "processors", "exporters") for name in config[part]
    }
    for title, pipeline in config["service"]["pipelines"].items():
        if pipeline is None:
            continue
        assert {name for names in pipeline.values() for name in names} <= known, title
        assert pipeline["processors"] == ["memory_limiter", "k8sattributes", "batch"]
    variables = {variable["name"] for variable in values["extraEnvs"]}
    assert {f"${{env:{name}}}" for name in variables} == {
        exporter["endpoint"] for exporter in config["exporters"].values()
    }


def test_the_collectors_modules_have_one_version() -> None:
    text = (ROOT / "ops" / "monitoring" / "collector" / "go.mod").read_text(encoding="utf-8")
    direct = [
        line.split()
        for line in text.splitlines()
        if line.startswith("\t") and "// indirect" not in line
    ]
    assert {version for _name, version in direct if version.startswith("v0.")} == {"v0.160.0"}
