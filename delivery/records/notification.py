"""Tell a webhook how a pipeline went: what, where, who, how long, with which outcome."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery import machine
from delivery.errors import DeliveryError
from delivery.project.files import ROOT
from delivery.records import recorder, webhook
from delivery.records.events import NO_DATA, StageTime, lasting, span, stage_times

__all__ = ["RESULTS", "VARIABLE", "Notice", "notice", "notify"]

VARIABLE = "DELIVERY_WEBHOOK"
# What Jenkins calls the outcome of a build, and what people do.
RESULTS = {
    "SUCCESS": ("✅", "succeeded"),
    "UNSTABLE": ("⚠️", "succeeded, with complaints"),
    "FAILURE": ("❌", "failed"),
    "ABORTED": ("⏹️", "was aborted"),
    "NOT_BUILT": ("⏭️", "was not run"),
}
_TEXT_LIMIT = 2900  # Slack takes 3000 characters in a section
_KINDS = {"pull-request": "pull request ", "tag": "tag "}


@dataclass(frozen=True)
class Notice:
    """What there is to say; empty where nothing could be found out."""

    result: str
    project: str
    ref: str
    version: str
    subject: str
    environment: str
    responsible: str
    build: str
    seconds: float | None
    stages: Sequence[StageTime]

    def lines(self) -> list[str]:
        """The notice for people, a line a matter, as plain text."""
        stages = ", ".join(
            f"{one.stage} {lasting(one.seconds) if one.seconds is not None else 'did not end'}"
            f"{'' if one.status in {'succeeded', 'started'} else f' ({one.status})'}"
            for one in self.stages
        )
        told = [
            ("what", " ".join(part for part in (self.version, f"“{self.subject}”" if self.subject else "") if part)),
            ("where", self.environment or "nowhere"),
            ("who", self.responsible),
            ("how long", lasting(self.seconds) if self.seconds is not None else NO_DATA),
            ("stages", stages or NO_DATA),
        ]
        return [f"{name}: {value}" for name, value in told if value]

    @property
    def headline(self) -> str:
        """The outcome in a line."""
        sign, words = RESULTS[self.result]
        return f"{sign} {self.project}{f', {self.ref},' if self.ref else ''} {words}"

    def message(self) -> dict[str, Any]:
        """The notice as Slack takes it; text alone is enough for what only knows that."""
        link = f"\n<{_escaped(self.build)}|the build>" if self.build.startswith(("http://", "https://")) else ""
        head, body = _escaped(self.headline), "\n".join(_escaped(line) for line in self.lines())
        text = f"*{head}*\n{_shortened(body)}{link}"
        section = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
        return {"text": text, "blocks": [section]}


def notice(result: str, root: Path = ROOT) -> Notice:
    """What there is to say of this pipeline: of git, and of what its stages have recorded."""
    events = recorder.journal(root)
    stages, seconds, build = stage_times(events), span(events), recorder.pipeline()
    try:
        found = recorder.source(root)
    except (DeliveryError, OSError):  # the outcome is told all the same
        return Notice(result, root.name, "", "", "", "", machine.user(), build, seconds, stages)
    ref = found.decision.ref
    return Notice(
        result=result,
        project=found.declaration.name,
        ref=f"{_KINDS.get(ref.kind, '')}{ref.name}",
        version=found.versions[found.declaration.name],
        subject=found.subject,
        environment=found.decision.environment,
        responsible=found.origin.responsible,
        build=build,
        seconds=seconds,
        stages=stages,
    )


def notify(told: Notice) -> str:
    """Send a notice to the webhook; "" once it is taken, else what is wrong. The webhook's address is never printed."""
    url = os.environ.get(VARIABLE, "").strip()
    if not url.startswith(("http://", "https://")):
        return f"{VARIABLE} is no address"
    return webhook.send(url, told.message())


def _escaped(text: str) -> str:
    """A text that says nothing to Slack but itself."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _shortened(text: str) -> str:
    """As much as Slack takes; cut before a piece of an escape is left."""
    return text if len(text) <= _TEXT_LIMIT else text[:_TEXT_LIMIT].rpartition("\n")[0] + "\n…"
