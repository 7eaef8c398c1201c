"""The platform on this machine, by docker compose: start, status, stop, cache."""
