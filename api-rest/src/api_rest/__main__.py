"""The command line: `python -m api_rest`."""
# ruff: noqa: T201  a command line prints

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ledger import config

from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .metrics import Metrics
    from .readiness import State
    from .tokens import Tokens

__all__ = ["main"]

FAILED = 1
WRONG_SETTINGS = 2
# What a shell adds to the number of the signal that ended a process.
SIGNALLED = 128


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Serve until a signal stops the process; return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments:
        return _command_line(arguments)
    try:
        settings = config.load(Settings, os.environ if environ is None else environ)
        tokens = _tokens(settings)
    except config.SettingsError as error:
        print("api-rest cannot start, these settings are wrong:", file=sys.stderr)
        print(*(f"  {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        print("`python -m api_rest --help` lists all of them.", file=sys.stderr)
        return WRONG_SETTINGS
    try:
        return _serve(settings, tokens)
    except Exception:  # noqa: BLE001  logged
        _log(settings).exception("cannot serve")
        return FAILED


def _tokens(settings: Settings) -> Tokens | None:
    if not settings.tokens_file:
        return None
    from .tokens import Tokens  # noqa: PLC0415  only with tokens

    return Tokens(settings.tokens_file)


def _serve(settings: Settings, tokens: Tokens | None) -> int:
    from ledger.management import ManagementServer, Probes  # noqa: PLC0415  not for --help

    stopping = threading.Event()
    # PID 1 has no default signal handlers: it would ignore SIGTERM.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: _stop(number, stopping))
    with ExitStack() as closing:
        try:
            management = ManagementServer(settings.management_port)
        except OSError as error:
            return _cannot_listen(settings, settings.management_port, error)
        closing.callback(management.close)
        # /health is answered while everything else is imported.
        management.serve()
        loaded = _load(settings, tokens, stopping, closing)

        from .server import Server  # noqa: PLC0415

        try:
            server = Server(loaded.app, settings, stopping)
        except OSError as error:
            return _cannot_listen(settings, settings.http_port, error)
        loaded.metrics.watch(server)
        management.show(
            Probes(ready=lambda: loaded.state("").response(), metrics=loaded.metrics.render)
        )
        log = _log(settings)
        log.info("serving", host=settings.http_host, port=server.port)
        server.run()
    log.info("stopped")
    return 0


class _Loaded(NamedTuple):
    app: Callable[..., Iterable[bytes]]
    metrics: Metrics
    # Whether this instance is ready, as much as a client with this Authorization may know.
    state: Callable[[str], State]


def _load(
    settings: Settings, tokens: Tokens | None, stopping: threading.Event, closing: ExitStack
) -> _Loaded:
    """Import and make the app, and start to connect it."""
    _log(settings)
    from ledger import tracing, version  # noqa: PLC0415

    from .app import create_app  # noqa: PLC0415
    from .backends import Backends  # noqa: PLC0415
    from .metrics import Metrics  # noqa: PLC0415
    from .proxies import ProxyHeaders  # noqa: PLC0415
    from .readiness import STOPPING, Readiness, mount  # noqa: PLC0415
    from .tokens import AccessPlugin  # noqa: PLC0415

    installed = version.installed()
    traces = tracing.start(
        settings.otel_exporter_otlp_endpoint,
        service="api-rest",
        environment=settings.environment,
        version=installed,
    )
    closing.callback(traces.close)
    metrics = Metrics(installed)
    backends = Backends.of(settings)
    closing.callback(backends.close)
    readiness = Readiness(backends.problems, backends.lag.reason)
    closing.callback(readiness.close)
    metrics.watch_backends(backends.up)
    metrics.watch_lag(backends.lag)
    metrics.watch_drift(backends.drifted)

    def state(authorization: str) -> State:
        if stopping.is_set():
            return STOPPING
        return readiness.state(full=tokens is not None and tokens.know(authorization))

    backends.start()
    readiness.start()
    app = create_app(
        backends,
        max_body_bytes=settings.max_body_bytes,
        metrics=metrics,
        tracing=traces,
        access=AccessPlugin(
            tokens, protect_reads=settings.protect_reads, user_header=settings.user_header
        ),
    )
    mount(app, state)
    return _Loaded(ProxyHeaders(app, settings.trusted_proxies), metrics, state)


def _cannot_listen(settings: Settings, port: int, error: OSError) -> int:
    _log(settings).error("cannot listen", port=port, reason=error.strerror or str(error))
    return FAILED


def _stop(number: int, stopping: threading.Event) -> None:
    """Drain on the first signal, exit at once on the second."""
    if stopping.is_set():
        # The signal may have interrupted a log call: write past the logger.
        line = {
            "event": "ended at once by a second signal",
            "level": "warning",
            "signal": signal.Signals(number).name,
        }
        os.write(sys.stdout.fileno(), f"{json.dumps(line)}\n".encode())
        os._exit(SIGNALLED + number)
    stopping.set()


def _log(settings: Settings) -> Any:  # noqa: ANN401  structlog's own type
    import structlog  # noqa: PLC0415

    from ledger import logs  # noqa: PLC0415

    if not structlog.is_configured():
        logs.configure(
            level=settings.log_level, service="api-rest", environment=settings.environment
        )
    return structlog.stdlib.get_logger("api_rest")


def _command_line(arguments: Sequence[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print("The deployment ledger over HTTP. Usage: python -m api_rest [--help | --version]\n")
        print("Settings, from the environment:\n")
        print(config.reference(Settings))
        return 0
    if arguments == ["--version"]:
        from ledger import version  # noqa: PLC0415

        print(version.installed())
        return 0
    print(
        f"api-rest takes no arguments but --help and --version, not {' '.join(arguments)!r}",
        file=sys.stderr,
    )
    return WRONG_SETTINGS


if __name__ == "__main__":
    code = main()
    # A thread that still imports or connects would make the interpreter abort in its own exit.
    atexit._run_exitfuncs()  # noqa: SLF001  flush what handlers hold
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(code)
