"""Which events are needed no longer: RETENTION_DAYS after something else runs in their place.

A place is an environment and a component. What runs there, and the events of that version, are
never deleted, however old they are; nor is the last removal of a place.
"""

from datetime import datetime

from ledger.tables import deployments
from sqlalchemy import ColumnElement, Select, exists, or_, select

__all__ = ["purgeable"]

_EVENT = deployments.c


def purgeable(before: datetime, limit: int) -> Select[str]:
    """Return the statement that finds the ids of events to delete, the oldest first."""
    return (
        select(_EVENT.id)
        .where(
            _EVENT.received_at < before,
            or_(
                # The run that a rollback undoes is found among all runs of its version.
                or_(_was_removed(before), _was_replaced(before)) & ~_is_deployed(later=True),
                _decides_nothing() & ~_is_deployed(later=False),
            ),
        )
        .order_by(_EVENT.received_at, _EVENT.id)
        .limit(limit)
    )


def _was_removed(before: datetime) -> ColumnElement[bool]:
    """Its place was removed later."""
    removal = deployments.alias("removal").c
    return exists().where(
        removal.stage == "deploy",
        removal.status == "removed",
        removal.environment == _EVENT.environment,
        removal.component == _EVENT.component,
        removal.at > _EVENT.at,
        removal.received_at < before,
    )


def _was_replaced(before: datetime) -> ColumnElement[bool]:
    """A deploy in its place was later, and not rolled back."""
    deploy = deployments.alias("deploy").c
    rollback = deployments.alias("rollback").c
    return exists().where(
        deploy.stage == "deploy",
        deploy.status == "succeeded",
        deploy.environment == _EVENT.environment,
        deploy.component == _EVENT.component,
        deploy.at > _EVENT.at,
        deploy.received_at < before,
        ~exists().where(
            rollback.stage.in_(("deploy", "verify")),
            rollback.status == "rolled-back",
            rollback.environment == deploy.environment,
            rollback.component == deploy.component,
            rollback.version == deploy.version,
            rollback.at >= deploy.at,
        ),
    )


def _decides_nothing() -> ColumnElement[bool]:
    """It neither brings a version to its place nor removes one."""
    return (_EVENT.stage != "deploy") | _EVENT.status.not_in(("succeeded", "removed"))


def _is_deployed(*, later: bool) -> ColumnElement[bool]:
    """Its version was deployed in its place, at any time or later."""
    deploy = deployments.alias("same_version").c
    return exists().where(
        deploy.stage == "deploy",
        deploy.status == "succeeded",
        deploy.environment == _EVENT.environment,
        deploy.component == _EVENT.component,
        deploy.version == _EVENT.version,
        # It is another event: without this comparison MariaDB reads the whole table.
        deploy.at > _EVENT.at if later else deploy.id != _EVENT.id,
    )
