"""Parses BROKER_URL: the Kafka brokers to connect to first."""

from urllib.parse import urlsplit

__all__ = ["parse_broker_url"]

DEFAULT_PORT = 9092
FORMS = "write kafka://host, kafka://host:port, host:port, or several of these with commas between"


def parse_broker_url(text: str) -> tuple[str, ...]:
    """Return the brokers of a comma list as `host:port`, or raise ValueError."""
    return tuple(_parse_broker(part.strip()) for part in text.split(","))


def _parse_broker(part: str) -> str:
    if not part:
        raise ValueError(f"there is an empty entry; {FORMS}")
    scheme, separator, rest = part.rpartition("://")
    if separator and scheme.lower() != "kafka":
        raise ValueError(f"the scheme of {part!r} is not kafka; {FORMS}")
    try:
        url = urlsplit(f"//{rest}")
        host, port = url.hostname, url.port
    except ValueError as error:
        raise ValueError(f"{part!r} is not a broker ({error}); {FORMS}") from None
    extras = url.path.strip("/") or url.query or url.fragment or "@" in url.netloc
    if not host or extras or any(character.isspace() for character in part) or port == 0:
        raise ValueError(f"{part!r} is not a broker; {FORMS}")
    return f"[{host}]:{port or DEFAULT_PORT}" if ":" in host else f"{host}:{port or DEFAULT_PORT}"
