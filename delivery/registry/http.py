"""HTTP with an image registry: logins, certificates, redirects and errors.

Logins: https://distribution.github.io/distribution/spec/auth/token/

A registry may name other addresses: for an upload, for the next page, or by a redirect. A request
to these carries no login, and is never unencrypted where the registry itself is encrypted.
A login is sent only to the registry and to the token service that the registry names.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import requests
from docker import auth
from docker.errors import DockerException
from requests.adapters import DEFAULT_POOLSIZE, HTTPAdapter
from urllib3.util import make_headers

from delivery.errors import RegistryError
from delivery.origin import IDENTITY_USER, origin
from delivery.project.declaration import LOCAL_HOSTS, is_local
from delivery.retry import BusyError, retry_after, with_retries

__all__ = [
    "TIMEOUT_SECONDS",
    "Connection",
    "Request",
    "base_url",
    "cannot",
    "certificate_folders",
    "is_reachable",
    "login",
    "missing_login",
    "path_of",
]

TIMEOUT_SECONDS = (5.0, 120.0)  # to connect, and between two pieces of an answer
_ACCEPT = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_LOCAL_HOSTS = {host.strip("[]") for host in LOCAL_HOSTS}
_ACTIONS = {
    "GET": ("pull",),
    "HEAD": ("pull",),
    "POST": ("pull", "push"),
    "PUT": ("pull", "push"),
    "DELETE": ("pull", "push", "delete"),
}
_REDIRECTS = 10
_BROKEN = "see the logs of the registry, and of any proxy in front of it: it is broken"

# What a token allows: (repository, action).
_Scope = frozenset[tuple[str, str]]

_T = TypeVar("_T")


@contextmanager
def cannot(action: str) -> Iterator[None]:
    """Begin the message of a RegistryError with "cannot ACTION: ", unless it has that beginning."""
    try:
        yield
    except RegistryError as error:
        if not error.message.startswith("cannot "):
            error.message = f"cannot {action}: {error.message}"
            error.args = (error.message,)
        raise


def is_reachable(address: str) -> bool:
    """Whether a registry answers at this address, even if it asks for a login."""
    return _status(address) in {requests.codes.ok, requests.codes.unauthorized}


def missing_login(address: str) -> RegistryError | None:
    """The error for a registry that asks for a login when none is known; sends no login."""
    if login(address) or _status(address) != requests.codes.unauthorized:
        return None
    code = int(requests.codes.unauthorized)
    return RegistryError(
        f"cannot push to the registry {address}: it asks for a login, and none is known",
        hint=_hint(code, _host(address), has_login=False),
    )


def _status(address: str) -> int:
    """The status that a registry answers to a request without a login; 0 without an answer."""
    try:
        with _Session(_host(address)) as session:
            return session.get(f"{base_url(address)}/v2/", timeout=TIMEOUT_SECONDS).status_code
    except requests.RequestException:
        return 0


def login(address: str) -> tuple[str, str] | None:
    """The user and password for a registry: from the environment, else from the Docker config.

    An identity token replaces the password; its user is IDENTITY_USER.
    """
    user = os.environ.get("DELIVERY_REGISTRY_USERNAME")
    if user:
        return user, os.environ.get("DELIVERY_REGISTRY_PASSWORD", "")
    try:
        known = auth.load_config().resolve_authconfig(_host(address))
    except DockerException as error:
        raise RegistryError(
            f"cannot read the login for {_host(address)} from the Docker config: {error}",
            hint="log in again by `docker login`, or set DELIVERY_REGISTRY_USERNAME and "
            "DELIVERY_REGISTRY_PASSWORD",
        ) from error
    if not known:
        return None
    if token := known.get("IdentityToken"):
        return IDENTITY_USER, token
    user, password = known.get("username"), known.get("password")
    return user or known.get("Username", ""), password or known.get("Password", "")


def base_url(address: str) -> str:
    """The URL of a registry's API without its path: over HTTPS unless the registry is local."""
    host = _host(address)
    if host == auth.INDEX_NAME:  # Docker Hub's API has another host than its image names
        host = urlsplit(auth.INDEX_URL).netloc
    return f"{'http' if is_local(address) else 'https'}://{host}"


def path_of(repository: str) -> str:
    """The name of a repository without the registry's host."""
    return repository.partition("/")[2]


@dataclass(frozen=True)
class Request:
    """A request about a repository."""

    method: str
    url: str
    """May be another address than the registry's, which then gets no login."""
    repository: str
    expect: Sequence[int] = (200,)
    """Any other status is an error."""
    data: bytes | BinaryIO | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    mounts_from: str = ""
    """Another repository that it reads from."""

    @property
    def scope(self) -> _Scope:
        """What a token has to allow."""
        actions = {(path_of(self.repository), action) for action in _ACTIONS[self.method]}
        pulls = {(path_of(self.mounts_from), "pull")} if self.mounts_from else set()
        return frozenset(actions | pulls)


class Connection:
    """Sends requests to a registry, and logs in when the registry asks for it.

    Raises RegistryError for a refusal, and for a failure that outlasts the retries.
    """

    def __init__(
        self, address: str, *, pause: Callable[[float], None], timeout: tuple[float, float]
    ) -> None:
        self.address = address
        self._pause = pause
        self._timeout = timeout
        self._session = _Session(_host(address))
        self._login = login(address)
        self._basic = ""
        self._challenge: dict[str, str] = {}
        self._tokens: dict[_Scope, str] = {}

    def retry(self, action: Callable[[], _T]) -> _T:
        """Run an action of several requests; again while its failure may be temporary."""
        return with_retries(action, pause=self._pause)

    def send(self, request: Request) -> requests.Response:
        """The answer to a request, which is retried while its failure may be temporary."""
        return self.retry(lambda: self.send_once(request))

    def send_once(self, request: Request) -> requests.Response:
        """The answer to a request, after a login if the registry asks for it."""
        scope = request.scope
        with _registry_errors(self.address):
            # The first 401 said which service gives tokens.
            if self._challenge and self._is_own(request.url) and not self._authorization(scope):
                self._fetch_token(scope)
            answer = self._send(request)
            refused = answer.status_code == requests.codes.unauthorized
            if refused and self._is_own(answer.url) and self._log_in(answer, scope):
                answer = self._send(request)
        if answer.status_code not in request.expect:
            raise self.refusal(answer)
        return answer

    def refusal(self, answer: requests.Response) -> RegistryError:
        """The error that an answer means."""
        status, reason = answer.status_code, answer.content.decode("utf-8", "replace").strip()[:300]
        # Not every refusal is the specification's JSON.
        with suppress(ValueError, KeyError, TypeError):
            errors = json.loads(answer.content)["errors"]
            reason = "; ".join(f"{error['code']}: {error.get('message', '')}" for error in errors)
        server = "the registry"
        hint = _hint(status, _host(self.address), has_login=bool(self._login))
        if not self._is_own(answer.url):
            server = f"{origin(answer.url)}, which the registry names,"
            hint = f"see its log; the login for {_host(self.address)} is sent to no other host"
        message = f"{server} answered {status}{f' ({reason})' if reason else ''}"
        if _is_temporary(status):
            after = retry_after(answer.headers.get("Retry-After", ""))
            return BusyError(message, hint=hint, after=after)
        return RegistryError(message, hint=hint)

    def _send(self, request: Request) -> requests.Response:
        """Send a request with the login known so far; redirects of downloads are followed."""
        connect, read = self._timeout
        if request.data and not isinstance(request.data, bytes):
            request.data.seek(0)
            # urllib3 also limits sending by the time to connect, too short for a busy registry.
            connect = read
        _check_encrypted(base_url(self.address), request.url)
        own = self._is_own(request.url)
        authorization = self._authorization(request.scope) if own else ""
        return self._session.request(
            request.method,
            request.url,
            data=request.data,
            headers={"Accept": _ACCEPT, "Authorization": authorization or None, **request.headers},
            timeout=(connect, read),
            allow_redirects=request.method in {"GET", "HEAD"},
        )

    def _is_own(self, url: str) -> bool:
        """Whether a URL is the registry's own, so that its login may be sent to it."""
        return origin(url) == origin(base_url(self.address))

    def _authorization(self, scope: _Scope) -> str:
        tokens = (token for known, token in self._tokens.items() if scope <= known)
        return self._basic or next(tokens, "")

    def _log_in(self, answer: requests.Response, scope: _Scope) -> bool:
        """Log in as a 401 asks for; whether another attempt may succeed."""
        scheme, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        has_password = self._login is not None and self._login[0] != IDENTITY_USER
        if self._login and scheme.lower() == "basic" and has_password and not self._basic:
            self._basic = make_headers(basic_auth=":".join(self._login))["authorization"]
            return True
        if scheme.lower() != "bearer":
            return False
        self._challenge = dict(_CHALLENGE.findall(rest))
        return self._fetch_token(scope)

    def _fetch_token(self, scope: _Scope) -> bool:
        """Fetch a token that replaces any for this scope; whether the service gave it."""
        self._tokens = {known: token for known, token in self._tokens.items() if not scope <= known}
        realm = self._challenge.get("realm", "")
        if not realm:
            return False
        self._check_realm(realm)
        answer = self._request_token(realm, _scope_parameters(scope))
        if answer.is_redirect:
            raise RegistryError(
                f"the token service {realm} redirects the login to another address",
                hint="make the registry name the token service's own address",
            )
        if _is_temporary(answer.status_code):
            raise self.refusal(answer)
        with suppress(ValueError, AttributeError):
            token = answer.json()
            if value := answer.ok and (token.get("token") or token.get("access_token")):
                self._tokens[scope] = f"Bearer {value}"
                return True
        return False

    def _check_realm(self, realm: str) -> None:
        """Raise RegistryError unless a login may be sent to this token service.

        Many have another host than their registry, so any host will do, over https. On this machine
        a registry without encryption may have a token service without encryption.
        """
        with suppress(requests.RequestException):
            service = origin(realm)
            is_local_pair = is_local(self.address) and service.host in _LOCAL_HOSTS
            if service.scheme == "https" or is_local_pair:
                return
        raise RegistryError(
            f"the registry names {realm} for tokens, which is not encrypted",
            hint="make the registry name its token service by an https address",
        )

    def _request_token(self, realm: str, scopes: Sequence[str]) -> requests.Response:
        service = self._challenge.get("service", "")
        if self._login is None or self._login[0] != IDENTITY_USER:
            return self._session.get(
                realm,
                params={"service": service, "scope": list(scopes)},
                auth=self._login,
                timeout=self._timeout,
                allow_redirects=False,
            )
        # https://distribution.github.io/distribution/spec/auth/oauth/
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._login[1],
            "service": service,
            "scope": " ".join(scopes),
            "client_id": "delivery-platform",
        }
        return self._session.post(realm, data=form, timeout=self._timeout, allow_redirects=False)


class _Session(requests.Session):
    """A session that trusts, and shows, the certificates that Docker keeps for this host."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.max_redirects = _REDIRECTS
        # `login` finds logins; ~/.netrc may name any host.
        self.auth = lambda request: request
        # A registry's cookies would be sent to every port of its host.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if folders := certificate_folders(host):
            adapter = HTTPAdapter()
            context = _tls_context(folders)
            adapter.init_poolmanager(DEFAULT_POOLSIZE, DEFAULT_POOLSIZE, ssl_context=context)
            self.mount("https://", adapter)

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Send no login by a redirect to another host, and nothing unencrypted from https on."""
        url = prepared_request.url or ""
        _check_encrypted(response.url, url)
        if origin(response.url) != origin(url):
            prepared_request.headers.pop("Authorization", None)


# https://docs.docker.com/engine/security/certificates/
_CERTIFICATES = Path("/etc/docker/certs.d")


def certificate_folders(host: str) -> list[Path]:
    """The folders with Docker's certificates for HOST or HOST:PORT, first the machine's."""
    folders = [_CERTIFICATES / host, Path.home() / ".docker" / "certs.d" / host]
    return [folder for folder in folders if folder.is_dir()]


def _tls_context(folders: Sequence[Path]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for folder in folders:
        for file in (*sorted(folder.glob("*.crt")), *sorted(folder.glob("*.cert"))):
            try:
                if file.suffix == ".crt":
                    context.load_verify_locations(file)
                else:
                    context.load_cert_chain(file, file.with_suffix(".key"))
            except (OSError, ssl.SSLError) as error:
                raise RegistryError(
                    f"cannot read {file}: {error}",
                    hint="make it readable PEM: CAs in *.crt, a client's certificate in *.cert "
                    "with its *.key beside it",
                ) from error
    return context


def _check_encrypted(previous: str, url: str) -> None:
    """Raise RegistryError where what was encrypted would go on unencrypted."""
    target = origin(url)
    if origin(previous).scheme == "https" and target.scheme != "https":
        raise RegistryError(
            f"the registry names {target}, which is not encrypted",
            hint="make the registry name https addresses: a proxy in front of it sets "
            "X-Forwarded-Proto; the image `registry` takes http.host or http.relativeurls",
        )


def _is_temporary(status: int) -> bool:
    temporary = {requests.codes.request_timeout, requests.codes.too_many_requests}
    return status >= requests.codes.server_error or status in temporary


def _scope_parameters(scope: _Scope) -> list[str]:
    """A scope as token services take it: a parameter for each repository."""
    return [
        f"repository:{repository}:"
        + ",".join(action for action in _ACTIONS["DELETE"] if (repository, action) in scope)
        for repository in sorted({repository for repository, _ in scope})
    ]


def _hint(status: int, host: str, *, has_login: bool) -> str:
    reason = "the known login is wrong" if has_login else "no login is known"
    hints = {
        401: f"log in by `docker login {host}`, or set DELIVERY_REGISTRY_USERNAME and "
        f"DELIVERY_REGISTRY_PASSWORD: {reason}",
        403: "ask for the right to push to the repository; this login has none",
        404: "create the repository first, if the registry wants that; it does not know it",
        405: "allow deletion: the image `registry` does with REGISTRY_STORAGE_DELETE_ENABLED=true, "
        "Docker Hub only on its own pages",
        413: "raise the limit for the size of uploads of the proxy in front of the registry",
        429: "wait, or log in for a higher limit on requests",
    }
    return hints.get(status, "see the registry's own log")


def _host(address: str) -> str:
    return address.partition("/")[0]


@contextmanager
def _registry_errors(address: str) -> Iterator[None]:
    """Raise the errors of requests as RegistryError."""
    try:
        yield
    except requests.TooManyRedirects as error:
        last = f", the last to {origin(error.response.url)}" if error.response is not None else ""
        raise RegistryError(f"too many redirects{last}", hint=_BROKEN) from error
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.MissingSchema,
        requests.exceptions.InvalidSchema,
    ) as error:
        # The query may hold a secret.
        named = str(error).partition("?")[0]
        raise RegistryError(
            f"the registry names an invalid address: {named}", hint=_BROKEN
        ) from error
    except requests.RequestException as error:
        raise _connection_error(error, address) from error


def _connection_error(error: requests.RequestException, address: str) -> RegistryError:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return RegistryError(
            f"the registry's certificate is not trusted: {text}",
            hint=f"put its CA in /etc/docker/certs.d/{_host(address)}/ca.crt, as for Docker, "
            "or set REQUESTS_CA_BUNDLE to a bundle that has it",
        )
    if isinstance(error, requests.exceptions.ReadTimeout):
        return RegistryError(
            f"the registry has stalled: {text}",
            hint="see the registry's own log; it may be overloaded",
            retriable=True,
        )
    # The system's reason alone, without the libraries' own words.
    reason = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    return RegistryError(
        f"the registry does not answer: {reason[1] if reason else text}",
        hint="check the registry's address in delivery.toml (or DELIVERY_REGISTRY), and that it "
        "runs; `./run inv up` starts a local registry",
        retriable=True,
    )
