"""Notify people of the outcome of a pipeline, by apprise: Slack, Teams, mail, or a webhook.

apprise is slow to import: import this module only where a notification is sent.
"""

from __future__ import annotations

import html
import io
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType

from delivery import console, machine
from delivery.errors import DeclarationError, DeliveryError, did_you_mean
from delivery.project.files import ROOT
from delivery.records import journal, sending, source
from delivery.records.events import NO_DATA, NO_ENVIRONMENT, format_seconds
from delivery.records.stage_times import StageTime, stage_times, total_seconds
from delivery.words import plural

__all__ = ["RESULTS", "VARIABLE", "Notice", "announce", "load_notice", "notify"]

VARIABLE = "DELIVERY_WEBHOOK"
# Jenkins' name of each outcome, with a symbol, words, and apprise's type (colour and icon).
RESULTS = {
    "SUCCESS": ("✅", "succeeded", NotifyType.SUCCESS),
    "UNSTABLE": ("⚠️", "succeeded, with complaints", NotifyType.WARNING),
    "FAILURE": ("❌", "failed", NotifyType.FAILURE),
    "ABORTED": ("⏹️", "was aborted", NotifyType.INFO),
    "NOT_BUILT": ("⏭️", "was not run", NotifyType.INFO),
}
_KINDS = {"pull-request": "pull request ", "tag": "tag "}
_RETRIES, _WAIT_SECONDS = 2, 0.5
_DELIVER_SECONDS = 10.0
# A webhook that apprise does not know gets {"text": …}, which Slack and similar services accept.
# A redirect would turn the POST into a GET, which succeeds without a notification.
_SLACK_LIKE = {":message": "text", ":title": "", ":type": "", ":version": "", ":attachments": ""}
_WEBHOOK = {**_SLACK_LIKE, "redirect": "no"}


@dataclass(frozen=True)
class Notice:
    """The outcome of a pipeline; a field is empty where its value is unknown."""

    result: str  # Jenkins' name of the outcome
    project: str
    ref: str = ""
    version: str = ""
    subject: str = ""  # of the commit
    environment: str = ""
    actor: str = ""
    build: str = ""  # its address
    seconds: float | None = None
    stages: Sequence[StageTime] = ()

    def lines(self) -> list[str]:
        """The notice as lines of text."""
        stages = ", ".join(_stage(stage) for stage in self.stages)
        subject = f"“{self.subject}”" if self.subject else ""
        facts = {
            "version": " ".join(filter(None, (self.version, subject))),
            "environment": self.environment or NO_ENVIRONMENT,
            "actor": self.actor,
            "duration": NO_DATA if self.seconds is None else format_seconds(self.seconds),
            "stages": stages or NO_DATA,
            "build": self.build if self.build.startswith(("http://", "https://")) else "",
        }
        return [f"{name}: {value}" for name, value in facts.items() if value]

    @property
    def headline(self) -> str:
        """The outcome in a line."""
        sign, words, _ = RESULTS[self.result]
        return f"{sign} {self.project}{f', {self.ref},' if self.ref else ''} {words}"


def load_notice(result: str, root: Path = ROOT) -> Notice:
    """The notice of this pipeline, from Git and from the records of its stages."""
    records = journal.read(root)
    notice = Notice(
        result=result,
        project=root.name,
        actor=machine.actor(),
        build=machine.pipeline(),
        seconds=total_seconds(records),
        stages=stage_times(records),
    )
    try:
        clone = source.load(root)
    except (DeliveryError, OSError):  # the outcome alone is worth a notification
        return notice
    ref, name = clone.decision.ref, clone.declaration.name
    return replace(
        notice,
        project=name,
        ref=f"{_KINDS.get(ref.kind, '')}{ref.name}",
        version=clone.versions[name],
        subject=clone.subject,
        environment=clone.decision.environment,
        actor=clone.origin.actor,
    )


def announce(result: str) -> None:
    """Print the outcome of the pipeline, send a notification, and deliver the outbox.

    A failed notification or delivery is printed as a warning. Raises DeclarationError for a result
    that Jenkins does not have.
    """
    result = result.upper()
    if result not in RESULTS:
        known = f"pass one of {', '.join(RESULTS)} as --result"
        raise DeclarationError(
            f"cannot notify of {result}: it is not an outcome of a build",
            hint=did_you_mean(result, RESULTS, known),
        )
    notice = load_notice(result)
    for line in (notice.headline, *notice.lines()):
        console.say(line)
    if not os.environ.get(VARIABLE, "").strip():
        console.say(f"no notification was sent: {VARIABLE} is not set")
    elif problem := notify(notice):
        console.say(f"warning: the notification was not sent: {problem}")
    else:
        console.say("the notification was sent")
    try:
        report = sending.deliver(seconds=_DELIVER_SECONDS, wait=_DELIVER_SECONDS)
    except DeliveryError as error:
        console.say(f"warning: {error.message}")
        return
    if report.sent or report.waiting:
        events = plural(report.sent, "event")
        console.say(f"outbox: {events} delivered, {report.waiting} waiting")


def notify(notice: Notice) -> str:
    """Send a notice to the URL in DELIVERY_WEBHOOK; return "" or the problem, without the URL."""
    # Without a handler Python prints warnings, and some of urllib3's contain the URL.
    log = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(log))
    service, is_webhook = _service(os.environ.get(VARIABLE, "").strip())
    if service is None:
        return f"{VARIABLE} is not a URL that apprise knows"
    title, body = notice.headline, "\n".join(notice.lines())
    if is_webhook:
        # Slack and similar services then see neither links nor mentions.
        title, body = "", html.escape(f"{title}\n{body}", quote=False)
    _, _, kind = RESULTS[notice.result]
    if Apprise(service).notify(body, title, kind, body_format=NotifyFormat.TEXT):
        return ""
    # Only the status is used: the warnings of some services contain addresses.
    statuses = re.findall(r"error=(\d{3})", log.getvalue())
    return (
        f"it answered {statuses[-1]}"
        if statuses
        else "it cannot be reached, or refuses the notification"
    )


def _service(url: str) -> tuple[NotifyBase | None, bool]:
    """The service of a URL, None if invalid, and whether it is a webhook unknown to apprise."""
    asset = AppriseAsset(
        app_id="delivery-platform",
        image_url_mask="",  # no icons from other hosts
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
    seconds = "did not end" if stage.seconds is None else format_seconds(stage.seconds)
    status = "" if stage.status in {"succeeded", "started"} else f" ({stage.status})"
    return f"{stage.stage} {seconds}{status}"
