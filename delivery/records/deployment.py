"""A deployment: what a deploy, rollback or removal did to an environment; its record is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from delivery.errors import DeclarationError, validation_message

__all__ = ["Action", "Contents", "Deployment", "Outcome", "bytes_of", "read_deployment"]


class Contents(BaseModel):
    """What is deployed: the version of each component and of the chart, and the digests behind them.

    A digest that is not known is left out.
    """

    model_config = ConfigDict(frozen=True)

    versions: Mapping[str, str] = Field(default_factory=dict)
    digests: Mapping[str, str] = Field(default_factory=dict)

    def same(self, other: Contents) -> set[str]:
        """The components whose bytes are the same in both: by digest, else by what names them."""
        both = self.versions.keys() & other.versions.keys()
        return {name for name in both if self._is_same(name, other)}

    def only(self, names: Mapping[str, object] | set[str]) -> Contents:
        """These components alone."""
        return Contents(
            versions={name: version for name, version in self.versions.items() if name in names},
            digests={name: digest for name, digest in self.digests.items() if name in names},
        )

    def _is_same(self, name: str, other: Contents) -> bool:
        if name in self.digests and name in other.digests:
            return self.digests[name] == other.digests[name]
        return bytes_of(self.versions[name]) == bytes_of(other.versions[name])


class Action(StrEnum):
    """What is done to an environment."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"  # an earlier revision serves again, as was asked for
    VERIFY = "verify"  # one whose tests fail is taken back
    REMOVE = "remove"


class Outcome(StrEnum):
    """How it went."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    UNCHANGED = "unchanged"  # there was nothing to do
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"  # it failed, and what served before serves again


class Deployment(BaseModel):
    """One change of an environment, from what served before to what serves since.

    context and namespace are empty where docker compose runs it. contents is what it puts there, and
    is empty for a removal. revision serves since, previous before (helm's numbers; 0: none).
    """

    model_config = ConfigDict(frozen=True)

    action: Action
    environment: str
    context: str = ""
    namespace: str = ""
    contents: Contents = Contents()
    before: Contents = Contents()
    revision: int = 0
    previous: int = 0
    outcome: Outcome = Outcome.STARTED
    error: str = ""
    began: datetime = Field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0

    @property
    def subject(self) -> Contents:
        """What is recorded: what it puts there, or removes."""
        return self.before if self.action is Action.REMOVE else self.contents

    @property
    def unchanged(self) -> set[str]:
        """The components that serve on with the same bytes."""
        if self.outcome is Outcome.UNCHANGED:
            return set(self.contents.versions)
        return self.contents.same(self.before)

    def ended(self, outcome: Outcome, *, error: str = "", at: datetime | None = None) -> Deployment:
        """The same, with how it ended."""
        seconds = max(0.0, ((at or datetime.now(UTC)) - self.began).total_seconds())
        return self.model_copy(
            update={"outcome": outcome, "error": error, "seconds": round(seconds, 3)}
        )

    def served_by(self, revision: int, previous: int) -> Deployment:
        """The same, with helm's revisions: the one that serves since, and the one before."""
        return self.model_copy(update={"revision": revision, "previous": previous})

    def to_json(self) -> str:
        """The text of deployment.json."""
        return self.model_dump_json(indent=2) + "\n"


def read_deployment(text: str, *, file: str) -> Deployment:
    """Read deployment.json; raise DeclarationError when it is none."""
    try:
        return Deployment.model_validate_json(text)
    except ValidationError as error:
        raise DeclarationError(
            f"read {file}: it is no deployment ({validation_message(error)})",
            hint="`./run inv deploy` writes it anew",
        ) from error


def bytes_of(version: str) -> str:
    """What of a version names the bytes: the key of an unreleased one, or all of it."""
    return version.partition("+")[2] or version
