"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["installed"]


def installed() -> str:
    """Return the version, or "unversioned" where the sources run without being installed."""
    try:
        return version((__package__ or "").replace("_", "-"))
    except PackageNotFoundError:
        return "unversioned"
