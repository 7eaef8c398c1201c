"""Runs the app for a request, with waitress.

Apart from the connection, which answers probes before this is imported.
"""

from __future__ import annotations

from typing import Any

from waitress.task import WSGITask

__all__ = ["Task"]


class Task(WSGITask):  # type: ignore[misc]  # waitress is untyped
    """One request and its answer."""

    def get_environment(self) -> dict[str, Any]:
        """Return the environ, without the file wrapper: the connection sends bytes only."""
        environ: dict[str, Any] = super().get_environment()
        environ.pop("wsgi.file_wrapper", None)
        return environ

    def build_response_header(self) -> bytes:
        """Return the head, which tells the client to connect anew when this server will stop."""
        if not self.channel.stays:
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        if self.request.command == "HEAD":
            # The header says what GET is answered with; waitress would send the end of that body.
            self.chunked_response = False
        return head
