"""The errors that modules of this app raise to each other."""
# ruff: noqa: N818  named after the state, as in `except Unavailable`

__all__ = ["Fatal", "Unavailable", "Undecodable"]


class Unavailable(Exception):
    """Kafka or the database is away. A retry may succeed."""


class Undecodable(Exception):
    """A message can never be processed, however often it is read."""


class Fatal(Exception):
    """No retry can succeed. The worker logs the reason and exits, and somebody has to act."""
