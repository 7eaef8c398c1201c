"""Errors for users: each says what cannot be done and why, and how to go on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "BuildError",
    "ClusterError",
    "CommandError",
    "DeclarationError",
    "DeliveryError",
    "DeployError",
    "EngineError",
    "ForeignError",
    "FrozenError",
    "LeaseLostError",
    "PlatformError",
    "PortTakenError",
    "Problem",
    "RegistryError",
    "ScanError",
    "SignatureError",
    "TestError",
    "UnscannedError",
    "UpstreamError",
    "check_known",
    "did_you_mean",
    "validation_message",
]


_ACTION = re.compile(r"\Acannot .*?: ")


def validation_message(error: ValidationError) -> str:
    """All mistakes in a document in one line, each with its path."""
    mistakes = ((".".join(map(str, part["loc"])), part["msg"]) for part in error.errors())
    return "; ".join(f"{path or 'the file'}: {text}" for path, text in mistakes)


def did_you_mean(word: str, known: Iterable[str], more: str | None = None) -> str:
    """The hint for an unknown word: a similar known word, then `more` (default: all known)."""
    names = [*known]
    by_lower = {name.lower(): name for name in names}
    close = get_close_matches(word.lower(), by_lower, n=1)
    similar = [f"did you mean {by_lower[name]}?" for name in close]
    return " ".join([*similar, f"choose from {', '.join(names)}" if more is None else more]).strip()


class DeliveryError(Exception):
    """An error that a user can act on: printed without a traceback.

    message: "cannot push api-rest: the registry answered 403".
    hint: an imperative, how to go on.
    details: lines that explain the message, such as the last ones of a program.
    """

    exit_code: ClassVar[int] = 1  # of the task that ends with it
    reference: ClassVar[str] = "failed"  # its name in docs/errors.md and in a plan's JSON
    of_machine: ClassVar[bool] = False  # whether `inv doctor` may show the cause

    def __init__(self, message: str, *, hint: str = "", details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    @property
    def reason(self) -> str:
        """The message without "cannot push api-rest: ", for an error that names another action."""
        return _ACTION.sub("", self.message)


class DeclarationError(DeliveryError):
    """A mistake in delivery.toml, in an environment variable or in a task's argument."""

    exit_code = 2
    reference = "bad-declaration"


class EngineError(DeliveryError):
    """No Docker engine answers, or it lacks what this project needs."""

    exit_code = 3
    reference = "no-engine"
    of_machine = True


class ForeignError(DeliveryError):
    """A container, volume or cluster that another project made would be removed."""

    reference = "not-ours"


def check_known(word: str, known: Iterable[str], message: str) -> None:
    """Raise DeclarationError, with a hint of similar words, unless a user's word is known."""
    names = [*known]
    if word not in names:
        raise DeclarationError(message, hint=did_you_mean(word, names))


class RegistryError(DeliveryError):
    """The registry refused, failed, or holds other content than was sent."""

    exit_code = 4
    reference = "registry"

    def __init__(
        self, message: str, *, hint: str = "", details: str = "", retriable: bool = False
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.retriable = retriable


class BuildError(DeliveryError):
    """An image could not be built."""

    exit_code = 5
    reference = "build"


class UpstreamError(DeliveryError):
    """An upstream image is not in the engine and can be neither pulled nor built."""

    exit_code = 6
    reference = "upstream-image"
    of_machine = True


class PlatformError(DeliveryError):
    """The local platform did not start, or does not work."""

    exit_code = 7
    reference = "platform"
    of_machine = True


class PortTakenError(PlatformError):
    """Another program has a port that the platform publishes."""

    reference = "port-taken"


class DeployError(DeliveryError):
    """A deploy, rollback, verification or removal on Kubernetes failed.

    rolled_back: the previous revision serves again.
    """

    exit_code = 8
    reference = "deploy"

    def __init__(
        self, message: str, *, hint: str = "", details: str = "", rolled_back: bool = False
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.rolled_back = rolled_back


class LeaseLostError(DeployError):
    """Another deploy has the environment's lock, or may get it: nothing may be changed."""

    reference = "lease-lost"


class FrozenError(DeliveryError):
    """The environment is frozen, its windows are closed, or nobody knows; nothing was changed."""

    exit_code = 11
    reference = "frozen"


class ClusterError(DeliveryError):
    """The local Kubernetes cluster could not be created, or did not become ready."""

    exit_code = 9
    reference = "cluster"
    of_machine = True


class SignatureError(DeliveryError):
    """A published artifact is not signed as it must be, or cannot be signed with this key."""

    exit_code = 10
    reference = "signature"


class TestError(DeliveryError):
    """A check failed."""

    exit_code = 14
    reference = "checks"
    __test__ = False  # pytest takes classes of this name for tests


class ScanError(DeliveryError):
    """A scan found a secret or a vulnerability that blocks, or a file could not be read."""

    exit_code = 13
    reference = "scan"


class UnscannedError(DeliveryError):
    """Vulnerabilities were not looked for: no database, an old one, or no scanner."""

    exit_code = 12
    reference = "unscanned"


class CommandError(DeliveryError):
    """A program failed: its command line, its exit code and the last lines of its output."""

    reference = "command"

    def __init__(
        self, message: str, *, argv: list[str], returncode: int, tail: str, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint, details=tail)
        self.argv = argv
        self.returncode = returncode
        self.tail = tail


@dataclass(frozen=True)
class Problem:
    """A reason to refuse a run, which is known before the run changes anything."""

    message: str
    hint: str = ""  # the command or the change that solves it
    details: str = ""
    reference: str = DeclarationError.reference  # of the error that the run ends with

    @classmethod
    def from_error(cls, error: DeliveryError) -> Problem:
        """The problem that an error describes."""
        return cls(error.message, error.hint, error.details, error.reference)

    def error(self, doing: str = "") -> DeliveryError:
        """The error that the run ends with.

        doing: what the run was to do, unless the message names a smaller action itself.
        """
        kind = _KINDS.get(self.reference, DeliveryError)
        message = self.message
        if doing and not _ACTION.match(message):
            message = f"cannot {doing}: {message}"
        return kind(message, hint=self.hint, details=self.details)

    def lines(self) -> list[str]:
        """The problem and its hint, for people."""
        hint = [f"  hint: {self.hint}"] if self.hint else []
        return [self.message, *(f"  {line}" for line in self.details.splitlines()), *hint]


# The classes that a plan's problems come from.
_KINDS: dict[str, type[DeliveryError]] = {
    kind.reference: kind for kind in (DeclarationError, RegistryError, SignatureError)
}


class TerminatedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP, by which a CI server aborts a stage; args has the signal's name."""
