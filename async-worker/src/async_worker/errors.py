"""What can go wrong, as the parts of this app tell each other. Imports nothing of ours."""
# ruff: noqa: N818  named for what they say

__all__ = ["Fatal", "Unavailable", "Undecodable"]


class Unavailable(Exception):
    """Kafka or the database is away; it may come back, so the same work is tried again."""


class Undecodable(Exception):
    """A message that can never be processed, however often it is tried."""


class Fatal(Exception):
    """What no waiting heals: the process says so and ends, and whoever runs it has to act."""
