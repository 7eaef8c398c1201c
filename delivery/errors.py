"""What may go wrong, said the way a user needs it: what was being done, what is wrong, what to do."""

from __future__ import annotations

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
    "LeaseLostError",
    "NotOursError",
    "PlatformError",
    "PortTakenError",
    "Problem",
    "RegistryError",
    "ScanError",
    "SignatureError",
    "TestError",
    "UpstreamError",
    "did_you_mean",
    "mistakes",
]


def mistakes(error: ValidationError) -> str:
    """Every mistake in a document that was read, each with its place."""
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors()
    )


def did_you_mean(word: str, known: Iterable[str], then: str = "") -> str:
    """The hint for a word that is unknown: the known word nearest to it, if one is near, and `then`."""
    near = get_close_matches(word, [*known], n=1)
    return " ".join(part for part in (f"did you mean {near[0]}?" if near else "", then) if part)


class DeliveryError(Exception):
    """An error that a user can act on; the menu prints it without a traceback and exits with its class's code.

    message names the action under way and what is wrong ("push api-rest: the registry answered 403"), hint what to do.
    reference is the kebab-case name to search the documentation for.
    """

    exit_code: ClassVar[int] = 1
    reference: ClassVar[str] = "failed"

    def __init__(self, message: str, *, hint: str = "", details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class DeclarationError(DeliveryError):
    """delivery.toml, an environment variable or a task's argument cannot be obeyed as written."""

    exit_code = 2
    reference = "bad-declaration"


class EngineError(DeliveryError):
    """There is no Docker engine to work with, or it is not fit for the work."""

    exit_code = 3
    reference = "no-engine"


class NotOursError(DeliveryError):
    """Something that we were to remove is not this project's."""

    reference = "not-ours"


class RegistryError(DeliveryError):
    """The image registry refused, failed, or holds something else than was sent."""

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
    """An image that others publish could be neither found, pulled nor built from its recipe."""

    exit_code = 6
    reference = "upstream-image"


class PlatformError(DeliveryError):
    """The platform did not come up, or did not do its work once up."""

    exit_code = 7
    reference = "platform"


class PortTakenError(PlatformError):
    """A host port that the platform publishes is somebody else's."""

    reference = "port-taken"


class DeployError(DeliveryError):
    """A deploy, rollback, test or removal on Kubernetes did not come to a good end.

    rolled_back: what served before serves again.
    """

    exit_code = 8
    reference = "deploy"

    def __init__(
        self, message: str, *, hint: str = "", details: str = "", rolled_back: bool = False
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.rolled_back = rolled_back


class LeaseLostError(DeployError):
    """Another deploy has our lease, or may have it soon; nothing may be changed any more."""

    reference = "lease-lost"


class ClusterError(DeliveryError):
    """The local Kubernetes cluster could not be made, or did not become ready."""

    exit_code = 9
    reference = "cluster"


class SignatureError(DeliveryError):
    """Something published is not signed as it has to be, or cannot be signed with the key at hand."""

    exit_code = 10
    reference = "signature"


class TestError(DeliveryError):
    """What was checked does not hold."""

    exit_code = 12
    reference = "checks"
    __test__ = False  # pytest takes classes of this name for tests


class ScanError(DeliveryError):
    """A scan found a secret, or could not look at what it was to look at."""

    exit_code = 11
    reference = "scan"


class CommandError(DeliveryError):
    """A command that we ran failed: argv, its exit code and the last lines it printed."""

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
    """What a run would be refused for, found before it does anything.

    message says what is wrong, hint the command or the change that solves it. reference is that of
    the error that a run would end with.
    """

    message: str
    hint: str = ""
    details: str = ""
    reference: str = DeclarationError.reference

    @classmethod
    def of(cls, error: DeliveryError) -> Problem:
        """The problem that an error reports."""
        return cls(error.message, error.hint, error.details, error.reference)

    def error(self, doing: str = "") -> DeliveryError:
        """The error that a run ends with; doing is what it cannot do."""
        kind = _KINDS.get(self.reference, DeliveryError)
        message = f"cannot {doing}: {self.message}" if doing else self.message
        return kind(message, hint=self.hint, details=self.details)

    def lines(self) -> list[str]:
        """The problem for people, with its hint."""
        hint = [f"  hint: {self.hint}"] if self.hint else []
        return [self.message, *(f"  {line}" for line in self.details.splitlines()), *hint]


# Those that a plan can meet.
_KINDS: dict[str, type[DeliveryError]] = {
    kind.reference: kind for kind in (DeclarationError, RegistryError, SignatureError)
}


class TerminatedError(KeyboardInterrupt):
    """A signal that ends us, such as SIGTERM by which a CI server aborts a stage; args has its name."""
