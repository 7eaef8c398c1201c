"""The conversation with an image registry: logins, certificates, faults that are waited out, and a count of what was sent.

What is said in it is `registry`'s. Logins: https://distribution.github.io/distribution/spec/auth/token/

A registry may name other addresses: for an upload, for the next page, by a redirect. They are asked
without its login, and never unencrypted where the registry itself is encrypted. A login goes to the
registry and to the token service that the registry itself names, to nobody else.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from docker import auth
from docker.errors import DockerException
from requests.adapters import HTTPAdapter

from delivery.errors import DeliveryError, RegistryError
from delivery.origin import IDENTITY_USER, Origin, origin
from delivery.project.declaration import LOCAL_HOSTS, is_local
from delivery.retry import BusyError, retry_after, with_retries

__all__ = [
    "TIMEOUT_SECONDS",
    "Answer",
    "Conversation",
    "Request",
    "certificate_folders",
    "is_reachable",
    "login",
    "missing_login",
    "url_of",
    "within",
]

TIMEOUT_SECONDS = (5.0, 120.0)  # to connect, between two pieces
_ACCEPT = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"
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
_REDIRECTS = 10  # so many in a row are followed
_LATER = {requests.codes.request_timeout, requests.codes.too_many_requests}

# What a token is for: (repository, action).
_Scope = frozenset[tuple[str, str]]

_T = TypeVar("_T")


def is_reachable(address: str) -> bool:
    """Whether a registry answers at this address; one that asks for a login does."""
    return _status(address) in {requests.codes.ok, requests.codes.unauthorized}


def missing_login(address: str) -> RegistryError | None:
    """The error that a push would end with because a registry asks for a login and none is known; asks, and sends nothing."""
    if login(address) or _status(address) != requests.codes.unauthorized:
        return None
    code = int(requests.codes.unauthorized)
    return RegistryError(
        f"the registry {address} asks for a login, and there is none",
        hint=_hint(code, _host(address), known=False),
    )


def _status(address: str) -> int:
    """What a registry answers to who has not logged in; 0 when it does not."""
    try:
        with _session(_host(address)) as session:
            return session.get(f"{url_of(address)}/v2/", timeout=TIMEOUT_SECONDS).status_code
    except requests.RequestException:
        return 0


def login(address: str) -> tuple[str, str] | None:
    """The user and password for a registry: from the environment, else from the Docker config and its helpers.

    Where these keep an identity token in place of a password, the user is IDENTITY_USER, as helpers have it.
    """
    user = os.environ.get("DELIVERY_REGISTRY_USERNAME")
    if user:
        return user, os.environ.get("DELIVERY_REGISTRY_PASSWORD", "")
    try:
        known = auth.load_config().resolve_authconfig(_host(address))
    except DockerException as error:
        raise RegistryError(
            f"read the login for {_host(address)} from the Docker config: {error}",
            hint="`docker login` writes it anew; DELIVERY_REGISTRY_USERNAME and _PASSWORD go before it",
        ) from error
    if not known:
        return None
    if token := known.get("IdentityToken"):
        return IDENTITY_USER, token
    return known.get("username", known.get("Username", "")), known.get(
        "password", known.get("Password", "")
    )


def url_of(address: str) -> str:
    """Where a registry's API is: its host's root, over HTTPS unless it is local."""
    host = _host(address)
    if host == auth.INDEX_NAME:  # Docker Hub's API has another host than its image names
        host = urlsplit(auth.INDEX_URL).netloc
    return f"{'http' if is_local(address) else 'https'}://{host}"


def within(repository: str) -> str:
    """A repository's name as its registry knows it: without the host."""
    return repository.partition("/")[2]


@dataclass(frozen=True)
class Request:
    """A request about one repository."""

    method: str
    url: str  # which the registry may have named: at another address it sees no login
    repository: str
    doing: str  # the action under way, for errors
    expect: Sequence[int] = (200,)  # any other status is an error
    data: bytes | BinaryIO | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pulls: str = ""  # another repository that it reads from

    @property
    def scope(self) -> _Scope:
        """What a token has to be for."""
        pulls = _scope(self.pulls, ("pull",)) if self.pulls else frozenset()
        return _scope(self.repository, _ACTIONS[self.method]) | pulls

    @property
    def size(self) -> int:
        """The bytes of its body."""
        if isinstance(self.data, bytes):
            return len(self.data)
        return self.data.seek(0, os.SEEK_END) if self.data else 0


@dataclass(frozen=True)
class Answer:
    """What a registry answered, or the address that it sent the request on to."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Conversation:
    """Requests to one registry, each with what it takes to be let in.

    requests, sent and received count what went over the wire so far: requests with those for tokens and redirects, and the
    bytes of their bodies. Refusals, and faults that outlast the retries, raise RegistryError.
    """

    def __init__(
        self,
        address: str,
        *,
        pause: Callable[[float], None] = time.sleep,
        timeout: tuple[float, float],
    ) -> None:
        self.address = address
        self.requests = self.sent = self.received = 0
        self._pause = pause
        self._timeout = timeout
        self._http = _session(_host(address))
        self._login = login(address)
        self._basic = ""
        self._challenge: dict[str, str] = {}
        self._tokens: dict[_Scope, str] = {}

    def with_retries(self, ask: Callable[[], _T]) -> _T:
        """Do what takes several requests, again from its beginning while what goes wrong may pass."""
        return with_retries(ask, pause=self._pause)

    def ask(self, request: Request) -> Answer:
        """Make a request, again while what goes wrong may pass."""
        return self.with_retries(lambda: self.once(request))

    def once(self, request: Request) -> Answer:
        """Make one request, after logging in if the registry wants that."""
        scope, doing = request.scope, request.doing
        # Where tokens come from is known since the first 401.
        if self._challenge and self._is_own(request.url, doing) and not self._token(scope):
            self._fetch_token(scope, doing)
        answer = self._send(request)
        refused = answer.status == requests.codes.unauthorized and self._is_own(answer.url, doing)
        if refused and self._log_in(scope, answer, doing):
            answer = self._send(request)
        if answer.status not in request.expect:
            raise self.refused(doing, answer)
        return answer

    def _send(self, request: Request) -> Answer:
        """Make a request without logging in, and follow where downloads are redirected to.

        requests would follow by itself, but also to what is not encrypted, and with a login of ~/.netrc.
        """
        previous, url, doing = url_of(self.address), request.url, request.doing
        for _ in range(_REDIRECTS + 1):
            self._check_encrypted(previous, url, doing)
            answer = self._send_once(request, url)
            target = (
                self._http.get_redirect_target(answer)
                if request.method in {"GET", "HEAD"}
                else None
            )
            if not target:
                return Answer(answer.status_code, answer.headers, answer.content, url)
            previous, url = url, urljoin(url, target)
        raise RegistryError(
            f"cannot {doing}: too many redirects, the last to {self._origin(url, doing)}",
            hint="the registry, or a proxy before it, is broken",
        )

    def _send_once(self, request: Request, url: str) -> requests.Response:
        token = self._token(request.scope) if self._is_own(url, request.doing) else ""
        connect, between = self._timeout
        size, data = request.size, request.data
        if data and not isinstance(data, bytes):
            data.seek(0)
            # urllib3 holds sending to the time to connect: too short for a registry that takes a breath.
            connect = between
        with _talking(request.doing, self.address):
            self.requests += 1
            answer = self._http.request(
                request.method,
                url,
                data=data,
                headers={
                    "Accept": _ACCEPT,
                    **({"Authorization": token} if token else {}),
                    **request.headers,
                },
                timeout=(connect, between),
                allow_redirects=False,
            )
        self.sent += size
        self.received += len(answer.content)
        return answer

    def _origin(self, url: str, doing: str) -> Origin:
        try:
            return origin(url)
        except requests.RequestException as error:
            raise RegistryError(
                f"{doing}: the registry names {url.partition('?')[0]!r}, which is no address",
                hint="the registry, or a proxy before it, is broken",
            ) from error

    def _is_own(self, url: str, doing: str) -> bool:
        """Whether an address is the registry's own, so that its login may be sent there."""
        return self._origin(url, doing) == self._origin(url_of(self.address), doing)

    def _check_encrypted(self, previous: str, url: str, doing: str) -> None:
        """Raise RegistryError where something encrypted would go on unencrypted."""
        there = self._origin(url, doing)
        if self._origin(previous, doing).scheme == "https" and there.scheme != "https":
            raise RegistryError(
                f"{doing}: the registry names {there}, which is not encrypted",
                hint="the registry has to name https addresses: a proxy before it says so by "
                "X-Forwarded-Proto, image `registry` takes http.host or http.relativeurls",
            )

    def _token(self, scope: _Scope) -> str:
        return self._basic or next(
            (token for known, token in self._tokens.items() if scope <= known), ""
        )

    def _log_in(self, scope: _Scope, answer: Answer, doing: str) -> bool:
        """Answer a 401's challenge, also when a token has run out; say whether it is worth asking again."""
        scheme, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        if (
            scheme.lower() == "basic"
            and self._login
            and self._login[0] != IDENTITY_USER
            and not self._basic
        ):
            basic = (
                requests.Request("GET", "http://x", auth=self._login)
                .prepare()
                .headers["Authorization"]
            )
            self._basic = str(basic)
            return True
        if scheme.lower() != "bearer":
            return False
        self._challenge = dict(_CHALLENGE.findall(rest))
        return self._fetch_token(scope, doing)

    def _fetch_token(self, scope: _Scope, doing: str) -> bool:
        for known in [known for known in self._tokens if scope <= known]:
            del self._tokens[known]
        realm = self._challenge.get("realm", "")
        if not realm:
            return False
        self._check_realm(realm, doing)
        with _talking(f"{doing}: log in", self.address):
            self.requests += 1
            given = self._ask_for_token(realm, self._challenge.get("service", ""), _spelled(scope))
        self.received += len(given.content)
        if given.is_redirect:
            raise RegistryError(
                f"{doing}: log in: {realm} sends it on to another address",
                hint="a login is not sent on; the registry has to name the service's own address",
            )
        if _may_pass(given.status_code):
            answer = Answer(given.status_code, given.headers, given.content, realm)
            raise self.refused(f"{doing}: log in", answer)
        with suppress(ValueError, AttributeError):
            token = given.json()
            if value := given.ok and (token.get("token") or token.get("access_token")):
                self._tokens[scope] = f"Bearer {value}"
                return True
        return False

    def _check_realm(self, realm: str, doing: str) -> None:
        """Raise RegistryError unless a login may be sent to the token service that is named.

        Many have another host than their registry, so any host will do, over https. On this machine
        a registry without encryption may have a token service without it.
        """
        try:
            there = origin(realm)
        except requests.RequestException:
            there = None
        own = self._origin(url_of(self.address), doing)
        is_here = own.scheme == "http" and there is not None and there.host in _LOCAL_HOSTS
        if is_here or (there and there.scheme == "https"):
            return
        raise RegistryError(
            f"{doing}: log in: the registry names {realm} for tokens, which is not encrypted",
            hint="the registry's token service has to be reached over https",
        )

    def _ask_for_token(self, realm: str, service: str, scopes: Sequence[str]) -> requests.Response:
        if not self._login or self._login[0] != IDENTITY_USER:
            asked = {"service": service, "scope": list(scopes)}
            return self._http.get(
                realm,
                params=asked,
                auth=self._login,
                timeout=self._timeout,
                allow_redirects=False,
            )
        # https://distribution.github.io/distribution/spec/auth/oauth/
        told = {
            "grant_type": "refresh_token",
            "refresh_token": self._login[1],
            "service": service,
            "scope": " ".join(scopes),
            "client_id": "delivery-platform",
        }
        return self._http.post(realm, data=told, timeout=self._timeout, allow_redirects=False)

    def refused(self, doing: str, answer: Answer) -> RegistryError:
        """The error that an answer means."""
        reason = answer.body.decode("utf-8", "replace").strip()[:300]
        with suppress(
            ValueError, KeyError, TypeError
        ):  # not every refusal comes as the specification's JSON
            reason = "; ".join(
                f"{one['code']}: {one.get('message', '')}"
                for one in json.loads(answer.body)["errors"]
            )
        own = self._origin(url_of(self.address), doing)
        there = self._origin(answer.url, doing)
        who = "the registry" if there == own else f"{there}, which the registry names,"
        message = f"{doing}: {who} answered {answer.status}{f' ({reason})' if reason else ''}"
        hint = _hint(answer.status, _host(self.address), known=bool(self._login))
        if there != own:
            hint = f"see its own log; the login for {_host(self.address)} is sent to no other host"
        if _may_pass(answer.status):
            return BusyError(
                message, hint=hint, after=retry_after(answer.headers.get("Retry-After", ""))
            )
        return RegistryError(message, hint=hint)


def _may_pass(status: int) -> bool:
    return status >= requests.codes.server_error or status in _LATER


def _scope(repository: str, actions: Sequence[str]) -> _Scope:
    return frozenset((within(repository), action) for action in actions)


def _spelled(scope: _Scope) -> list[str]:
    """A scope as token services take it: one parameter a repository."""
    order = _ACTIONS["DELETE"]
    repositories = sorted({repository for repository, _ in scope})
    return [
        f"repository:{repository}:{','.join(action for action in order if (repository, action) in scope)}"
        for repository in repositories
    ]


def _hint(status: int, host: str, *, known: bool) -> str:
    hints = {
        401: f"the login for {host} is wrong" if known else f"there is no login for {host}",
        403: "this login may not do that; ask for push rights on the repository",
        404: "the registry does not know the repository; some want it made first",
        405: "the registry allows no deletion; one of image `registry` does with REGISTRY_STORAGE_DELETE_ENABLED=true, "
        "Docker Hub on its own pages only",
        413: "a proxy before the registry limits the size of uploads; raise its limit",
        429: "too many requests; wait, or log in for a higher limit",
    }
    hint = hints.get(status, "see the registry's own log")
    if status == requests.codes.unauthorized:
        hint += f": `docker login {host}`, or set DELIVERY_REGISTRY_USERNAME and DELIVERY_REGISTRY_PASSWORD"
    return hint


def _host(address: str) -> str:
    return address.partition("/")[0]


def _session(host: str) -> requests.Session:
    """A session that trusts, and shows, the certificates that Docker keeps for this host."""
    session = requests.Session()
    # A login is what `login` finds, not what ~/.netrc has, for any host that is asked.
    session.auth = _unchanged
    # A registry's cookies would go to every port of its host.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    if folders := certificate_folders(host):
        session.mount("https://", _Trusting(_context(folders)))
    return session


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


# https://docs.docker.com/engine/security/certificates/
_CERTIFICATES = Path("/etc/docker/certs.d")


def certificate_folders(host: str) -> list[Path]:
    """The folders that Docker keeps a registry's certificates in (HOST or HOST:PORT), the machine's before the user's."""
    found = [folder / host for folder in (_CERTIFICATES, Path.home() / ".docker" / "certs.d")]
    return [folder for folder in found if folder.is_dir()]


class _Trusting(HTTPAdapter):
    """Adds certificates of one's own to those that requests trusts anyway."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # urllib3's own
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)


def _context(folders: Sequence[Path]) -> ssl.SSLContext:
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
                    f"read {file}: {error}",
                    hint="it has to be readable PEM: CAs in *.crt, a client's certificate in *.cert with its *.key beside it",
                ) from error
    return context


def _reason(error: requests.RequestException) -> str:
    """What the system says of a connection, without what the libraries were about to do."""
    found = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return found[1] if found else str(error)


@contextmanager
def _talking(doing: str, address: str) -> Iterator[None]:
    """Turn the errors of requests into ours, with the action under way."""
    try:
        yield
    except DeliveryError:
        raise
    except requests.RequestException as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise RegistryError(
                f"{doing}: the registry's certificate is not trusted: {error}",
                hint=f"put its CA in /etc/docker/certs.d/{_host(address)}/ca.crt, as for Docker, "
                "or name the bundle that trusts it in REQUESTS_CA_BUNDLE",
            ) from error
        if isinstance(error, requests.exceptions.ReadTimeout):
            raise RegistryError(
                f"{doing}: the registry has stalled: {error}",
                hint="it may be overloaded; see its own log",
                retriable=True,
            ) from error
        raise RegistryError(
            f"{doing}: the registry does not answer: {_reason(error)}",
            hint="check the registry's address in delivery.toml (or DELIVERY_REGISTRY), and that it runs; "
            "`./run inv up` starts a local one",
            retriable=True,
        ) from error
