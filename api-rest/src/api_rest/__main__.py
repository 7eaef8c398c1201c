"""Runs the app: `python -m api_rest`."""
# ruff: noqa: T201  a command line speaks by print

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence

from . import config
from .settings import Settings

__all__ = ["main"]

WRONG_SETTINGS = 2


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Read the settings and serve until told to stop; return the process's exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments:
        return _command_line(arguments)
    try:
        settings = config.load(Settings, os.environ if environ is None else environ)
    except config.SettingsError as error:
        print("api-rest cannot start, these settings are wrong:", file=sys.stderr)
        print(*(f"  {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        print("`python -m api_rest --help` lists all of them.", file=sys.stderr)
        return WRONG_SETTINGS
    stopping = threading.Event()
    # As PID 1 a process gets no default handling of signals: without handlers SIGTERM would be ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return _serve(settings, stopping)


def _serve(settings: Settings, stopping: threading.Event) -> int:
    # Imported only now, so that --help and wrong settings are answered at once.
    import structlog  # noqa: PLC0415

    from . import logs, tracing, version  # noqa: PLC0415
    from .app import create_app  # noqa: PLC0415
    from .backends import Backends  # noqa: PLC0415
    from .metrics import Metrics  # noqa: PLC0415
    from .server import Server  # noqa: PLC0415

    logs.configure(level=settings.log_level, service="api-rest", environment=settings.environment)
    log = structlog.stdlib.get_logger("api_rest")
    metrics = Metrics(version.installed())
    traces = tracing.start(
        settings.otel_exporter_otlp_endpoint,
        service="api-rest",
        environment=settings.environment,
        version=version.installed(),
    )
    backends = Backends.of(settings)
    app = create_app(
        backends,
        max_body_bytes=settings.max_body_bytes,
        draining=stopping.is_set,
        metrics=metrics,
        tracing=traces,
    )
    try:
        server = Server(app, settings, stopping)
    except OSError as error:
        log.error("cannot listen", host=settings.http_host, port=settings.http_port, reason=str(error))  # noqa: TRY400
        return 1
    backends.start()
    log.info("serving", host=settings.http_host, port=server.port)
    server.run()
    backends.close()
    traces.close()
    log.info("stopped")
    return 0


def _command_line(arguments: Sequence[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print("The deployment ledger over HTTP. Usage: python -m api_rest [--help | --version]\n")
        print("Settings, from the environment:\n")
        print(config.table(Settings))
        return 0
    if arguments == ["--version"]:
        from . import version  # noqa: PLC0415

        print(version.installed())
        return 0
    print(f"api-rest takes no arguments but --help and --version, not {' '.join(arguments)!r}", file=sys.stderr)
    return WRONG_SETTINGS


if __name__ == "__main__":
    sys.exit(main())
