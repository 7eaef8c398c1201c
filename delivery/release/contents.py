"""What is deployed: the version of each component and the digest behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Contents", "bytes_of"]


@dataclass(frozen=True)
class Contents:
    """What is deployed: each component's version, and the chart's, and the digests behind them.

    A digest that is not known is not there.
    """

    versions: Mapping[str, str]
    digests: Mapping[str, str] = field(default_factory=dict)

    def same(self, other: Contents) -> set[str]:
        """The components whose bytes are the same in both: by digest, else by what names them."""
        both = self.versions.keys() & other.versions.keys()
        return {name for name in both if self._is_same(name, other)}

    def _is_same(self, name: str, other: Contents) -> bool:
        if name in self.digests and name in other.digests:
            return self.digests[name] == other.digests[name]
        return bytes_of(self.versions[name]) == bytes_of(other.versions[name])


def bytes_of(version: str) -> str:
    """What of a version names the bytes: the key of what is no release, or all of it."""
    return version.partition("+")[2] or version
