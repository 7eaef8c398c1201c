"""The platform on this machine, by docker compose."""
