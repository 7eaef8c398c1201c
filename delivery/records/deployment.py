"""A deployment: what a deploy, rollback or removal did to an environment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from delivery.errors import DeclarationError, validation_message

__all__ = ["Action", "Contents", "Deployment", "Outcome", "content_name", "read_deployment"]


class Contents(BaseModel):
    """The version of each component and of the chart, and the digests that are known."""

    model_config = ConfigDict(frozen=True)

    versions: Mapping[str, str] = Field(default_factory=dict)
    digests: Mapping[str, str] = Field(default_factory=dict)

    def unchanged_from(self, other: Contents) -> set[str]:
        """The components whose bytes are the same in both: by digest, else by version."""
        return {
            name
            for name in self.versions.keys() & other.versions.keys()
            if (
                self.digests[name] == other.digests[name]
                if name in self.digests and name in other.digests
                else content_name(self.versions[name]) == content_name(other.versions[name])
            )
        }

    def only(self, names: Collection[str]) -> Contents:
        """These components alone."""
        return Contents(
            versions={name: version for name, version in self.versions.items() if name in names},
            digests={name: digest for name, digest in self.digests.items() if name in names},
        )


class Action(StrEnum):
    """What is done to an environment."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"  # to an earlier revision, on request
    VERIFY = "verify"  # a deployment whose tests fail is rolled back
    REMOVE = "remove"
    NONE = "none"  # a stage of the pipeline that changes no environment


class Outcome(StrEnum):
    """How a deployment ended."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    UNCHANGED = "unchanged"  # the environment ran these contents already
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"  # it failed, and the environment runs its previous contents again


class Deployment(BaseModel):
    """A change of an environment.

    An alias is the key of a field in deployment.json, which an earlier version may have written.
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    action: Action
    environment: str
    context: str = ""  # the kube context and namespace; empty for docker compose
    namespace: str = ""
    contents: Contents = Contents()  # what the environment runs afterwards; empty for a removal
    # What it ran until then.
    previous_contents: Contents = Field(
        default=Contents(), validation_alias="before", serialization_alias="before"
    )
    revision: int = 0  # the helm revision afterwards; 0: none
    # The helm revision until then; 0: none.
    previous_revision: int = Field(
        default=0, validation_alias="previous", serialization_alias="previous"
    )
    outcome: Outcome = Outcome.STARTED
    error: str = ""
    began: datetime = Field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0

    @property
    def affected(self) -> Contents:
        """What is deployed or, by a removal, removed."""
        return self.previous_contents if self.action is Action.REMOVE else self.contents

    @property
    def unchanged(self) -> set[str]:
        """The components whose bytes stay the same."""
        if self.outcome is Outcome.UNCHANGED:
            return set(self.contents.versions)
        return self.contents.unchanged_from(self.previous_contents)

    def ended(self, outcome: Outcome, *, error: str = "", at: datetime | None = None) -> Deployment:
        """The same deployment with its outcome and duration."""
        seconds = max(0.0, ((at or datetime.now(UTC)) - self.began).total_seconds())
        return self.model_copy(
            update={"outcome": outcome, "error": error, "seconds": round(seconds, 3)}
        )

    def with_revisions(self, revision: int, previous: int) -> Deployment:
        """The same deployment with its helm revisions."""
        return self.model_copy(update={"revision": revision, "previous_revision": previous})

    def to_json(self) -> str:
        """The text of deployment.json."""
        return self.model_dump_json(indent=2) + "\n"


def read_deployment(text: str, *, file: str) -> Deployment:
    """Parse the text of deployment.json; raise DeclarationError when it is invalid."""
    try:
        return Deployment.model_validate_json(text)
    except ValidationError as error:
        raise DeclarationError(
            f"cannot read {file}: it is not a deployment ({validation_message(error)})",
            hint="run `./run inv deploy`, which writes the file again",
        ) from error


def content_name(version: str) -> str:
    """The part of a version that names its content: a content key, else the whole version."""
    return version.partition("+")[2] or version
