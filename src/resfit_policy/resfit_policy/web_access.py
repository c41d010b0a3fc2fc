"""Who may open the operator's page: this machine, or whoever has the token; and no other site in their browser.

A page of any site can make its visitor's browser send requests to this one (cross-site requests), and a site's name
can be made to mean this machine (DNS rebinding). So a request must name this machine as its host, and a WebSocket must
come from a page of that host.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from resfit_policy.task import ConfigError

LEAST = 8  # characters of a token: below that, trying them out is a matter of hours


class Refused(Exception):
    """A request that is not answered. ``status`` of HTTP; the text says what to do."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Access:
    """What a request must have."""

    address: str  # that the server listens at
    token: str  # '' asks for none

    def check(self, host: str, origin: str | None, token: str | None) -> None:
        """Raises Refused. ``host`` and ``origin`` are the headers of those names, ``token`` is of the query.

        What is not a browser sends no ``origin``, and no site can make it send anything.
        """
        name = _host_name(host)
        if not _is_address(name) and name not in {*_own_names(), self.address.lower()}:
            raise Refused(403, f'403: this machine is not called "{name}": open the page by its IP address')
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused(403, '403: another site may not speak for its visitor: open the page itself')
        if not self.token:
            return
        if not token:
            raise Refused(
                401, '401: the token is missing: open the address that web_node has printed, with its ?token='
            )
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            raise Refused(403, '403: wrong token: web_node prints the address with the right one when it starts')


def make_access(address: str, token: str) -> Access:
    """What to ask of whoever comes to ``address``; a token is made where one is needed and none is given.

    Raises ConfigError for a token that is too short.
    """
    if token and len(token) < LEAST:
        raise ConfigError(f'parameter token is shorter than {LEAST} characters: give a longer one, or none to have one')
    return Access(address, token or ('' if _is_local(address) else secrets.token_urlsafe(16)))


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens. ``port`` 0 takes a free one. Raises ConfigError."""
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address, port), family=family)
    except OverflowError:
        raise ConfigError(f'port {port} is not between 0 and 65535') from None
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(
            f'no page at {address}, port {port}: {why}. Choose others: parameters address, port'
        ) from None


def link(access: Access, listener: socket.socket) -> str:
    """What to open in a browser."""
    port = listener.getsockname()[1]
    host = access.address
    if _is_address(host) and ipaddress.ip_address(host).is_unspecified:
        host = _outward() or socket.gethostname()
    host = f'[{host}]' if ':' in host else host
    return f'http://{host}:{port}/' + (f'?token={quote(access.token, safe="")}' if access.token else '')


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f'//{host}').hostname or '').lower()
    except ValueError:
        return ''


def _is_address(name: str) -> bool:
    """An IP address, which no DNS can make mean something else."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_local(address: str) -> bool:
    return address == 'localhost' or (_is_address(address) and ipaddress.ip_address(address).is_loopback)


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {'localhost', name, f'{name}.local'}


def _outward() -> str:
    """This machine's address in its network, '' without one. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('192.0.2.1', 9))  # kept free for documentation: any route that leads out
        except OSError:
            return ''
        return str(probe.getsockname()[0])
