"""Tell people how a pipeline went: by apprise, so a URL names Slack, Teams, mail or a webhook.

apprise is slow to import: import this module only where something is sent.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType

from delivery import console, machine
from delivery.errors import DeclarationError, DeliveryError, did_you_mean
from delivery.project.files import ROOT
from delivery.records import recorder
from delivery.records.events import NO_DATA, StageTime, lasting, span, stage_times

__all__ = ["RESULTS", "VARIABLE", "Notice", "announce", "notice", "notify"]

VARIABLE = "DELIVERY_WEBHOOK"
# Jenkins' name of each outcome, with the words for it and apprise's type, which sets colour and icon.
RESULTS = {
    "SUCCESS": ("✅", "succeeded", NotifyType.SUCCESS),
    "UNSTABLE": ("⚠️", "succeeded, with complaints", NotifyType.WARNING),
    "FAILURE": ("❌", "failed", NotifyType.FAILURE),
    "ABORTED": ("⏹️", "was aborted", NotifyType.INFO),
    "NOT_BUILT": ("⏭️", "was not run", NotifyType.INFO),
}
_KINDS = {"pull-request": "pull request ", "tag": "tag "}
_RETRIES, _WAIT_SECONDS = 2, 0.5
_DELIVER_SECONDS = 10.0  # for the outbox, which holds nothing up
# A webhook that apprise does not know gets {"text": …}, which Slack and its likes take. A redirect
# would turn the POST into a GET, which succeeds and tells nobody.
_SLACK_LIKE = {":message": "text", ":title": "", ":type": "", ":version": "", ":attachments": ""}
_WEBHOOK = {**_SLACK_LIKE, "redirect": "no"}


@dataclass(frozen=True)
class Notice:
    """What there is to say about a pipeline; a field is empty where its value is unknown."""

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
        """The notice as plain text, one fact a line."""
        stages = ", ".join(_stage(stage) for stage in self.stages)
        subject = f"“{self.subject}”" if self.subject else ""
        facts = {
            "what": " ".join(filter(None, (self.version, subject))),
            "where": self.environment or "nowhere",
            "who": self.responsible,
            "how long": NO_DATA if self.seconds is None else lasting(self.seconds),
            "stages": stages or NO_DATA,
            "build": self.build if self.build.startswith(("http://", "https://")) else "",
        }
        return [f"{name}: {value}" for name, value in facts.items() if value]

    @property
    def headline(self) -> str:
        """The outcome in a line."""
        sign, words, _ = RESULTS[self.result]
        return f"{sign} {self.project}{f', {self.ref},' if self.ref else ''} {words}"


def notice(result: str, root: Path = ROOT) -> Notice:
    """The notice of this pipeline, from git and from what its stages have recorded."""
    events = recorder.journal(root)
    stages, seconds, build = stage_times(events), span(events), recorder.pipeline()
    try:
        source = recorder.source(root)
    except (DeliveryError, OSError):  # the outcome is told all the same
        return Notice(result, root.name, "", "", "", "", machine.actor(), build, seconds, stages)
    ref = source.decision.ref
    return Notice(
        result=result,
        project=source.declaration.name,
        ref=f"{_KINDS.get(ref.kind, '')}{ref.name}",
        version=source.versions[source.declaration.name],
        subject=source.subject,
        environment=source.decision.environment,
        responsible=source.origin.responsible,
        build=build,
        seconds=seconds,
        stages=stages,
    )


def announce(result: str) -> None:
    """Say how the pipeline went, send it, and deliver the outbox once more.

    A notification or a delivery that fails is a warning. Raises DeclarationError for a result that
    Jenkins does not know.
    """
    result = result.upper()
    if result not in RESULTS:
        known = f"--result takes one of {', '.join(RESULTS)}"
        raise DeclarationError(
            f"notify of {result}: that is no outcome of a build",
            hint=did_you_mean(result, RESULTS, known),
        )
    current = notice(result)
    for line in (current.headline, *current.lines()):
        console.say(line)
    if not os.environ.get(VARIABLE, "").strip():
        console.say(f"no notification was sent: {VARIABLE} is not set")
    elif problem := notify(current):
        console.say(f"warning: the notification was not sent: {problem}")
    else:
        console.say("the notification was sent")
    try:
        report = recorder.deliver(seconds=_DELIVER_SECONDS, wait=_DELIVER_SECONDS)
    except DeliveryError as error:
        console.say(f"warning: {error.message}")
        return
    if report.sent or report.waiting:
        events = "1 event" if report.sent == 1 else f"{report.sent} events"
        console.say(f"outbox: {events} delivered, {report.waiting} waiting")


def notify(notice: Notice) -> str:
    """Send a notice to the URL in DELIVERY_WEBHOOK; return "" or what went wrong, without the URL."""
    # Python prints a warning that no handler takes, and some of urllib3's name the URL.
    log = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(log))
    service, is_webhook = _service(os.environ.get(VARIABLE, "").strip())
    if service is None:
        return f"{VARIABLE} is no URL that apprise knows"
    title, body = notice.headline, "\n".join(notice.lines())
    if is_webhook:
        title, body = "", _escaped(f"{title}\n{body}")
    _, _, kind = RESULTS[notice.result]
    if Apprise(service).notify(body, title, kind, body_format=NotifyFormat.TEXT):
        return ""
    # Only the status is taken over: some services' warnings name whom they tell.
    statuses = re.findall(r"error=(\d{3})", log.getvalue())
    return f"it answered {statuses[-1]}" if statuses else "it cannot be reached, or refuses it"


def _service(url: str) -> tuple[NotifyBase | None, bool]:
    """The service that a URL names (None: none), and whether it is a webhook that apprise does not know."""
    asset = AppriseAsset(
        app_id="delivery-platform",
        image_url_mask="",  # else icons from elsewhere
        default_service_retry=_RETRIES,
        default_service_wait=_WAIT_SECONDS,
    )
    service = Apprise.instantiate(url, asset=asset)
    if service is not None or not url.startswith(("http://", "https://")):
        return service, False
    try:
        parts = urlsplit(url)
    except ValueError:
        return None, False
    query = {
        **{f"-{name}": value for name, value in parse_qsl(parts.query, keep_blank_values=True)},
        **_WEBHOOK,
    }
    scheme = "jsons" if parts.scheme == "https" else "json"
    address = parts._replace(scheme=scheme, query=urlencode(query), fragment="").geturl()
    return Apprise.instantiate(address, asset=asset), True


def _stage(stage: StageTime) -> str:
    seconds = "did not end" if stage.seconds is None else lasting(stage.seconds)
    status = "" if stage.status in {"succeeded", "started"} else f" ({stage.status})"
    return f"{stage.stage} {seconds}{status}"


def _escaped(text: str) -> str:
    """A text in which Slack and its likes see neither links nor mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
