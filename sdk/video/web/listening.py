"""The socket of the page: where it listens, under which names, and for how many connections."""

import os
import socket
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from sdk.errors import InputError

CONNECTIONS = 64
"""Most connections at once; fewer where few files may be open."""

BACKLOG = 128
"""Connections that wait to be taken; they are the system's, and take no file of this process."""


def listen(host: str, port: int, options: str) -> socket.socket:
    """Open a socket for connections to this machine.

    Args:
        host: Address or name of this machine.
        port: 0 for any that is free.
        options: What the command line calls the two, for the error.

    Raises:
        InputError: Host and port cannot be used.
    """
    error: Exception = OSError("wanted an address or a name of this machine, and a port from 0 to 65535")
    try:
        valid = bool(host) and host.isprintable() and 0 <= port <= 65535
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE) if valid else []
    except (OSError, ValueError) as failed:  # also a name that no host can have
        found, error = [], failed
    for family, _, _, _, place in found:
        both = family == socket.AF_INET6 and place[0] == "::" and socket.has_dualstack_ipv6()
        try:
            return socket.create_server(place, family=family, backlog=BACKLOG, dualstack_ipv6=both)
        except OSError as failed:
            error = failed
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"port {port} of {host} cannot be used: {reason}; choose another {options}") from error


def address_of(listener: socket.socket) -> str:
    """Return the URL that a browser on this machine can open."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def own_names(bound: IPv4Address | IPv6Address) -> tuple[str, ...]:
    """Return the names by which other machines may ask for this one; none where only this machine is answered."""
    name = socket.gethostname()
    return () if is_loopback(bound) else (name, name.partition(".")[0], f"{name.partition('.')[0]}.local")


def is_loopback(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is one by which a machine reaches itself."""
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def most_connections() -> int:
    """Return how many connections to take: at most half of the files that may still be opened.

    The other half is left for what is recorded.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return CONNECTIONS
    folder = Path("/dev/fd")
    used = len(os.listdir(folder)) if folder.is_dir() else 64
    return max(1, min(CONNECTIONS, (limit - used) // 2))
