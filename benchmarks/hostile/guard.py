"""What a worker may not do, told by Python's audit hook: write outside its folder, start programs, use the network."""

import os
import sys
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS = {
    "os.rename": ((0, 2), (1, 3)), "os.remove": ((0, 1),), "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),),
    "os.link": ((1, 3),), "os.symlink": ((1, 2),), "os.truncate": ((0, 9),), "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),), "os.utime": ((0, 3),),
}  # fmt: skip
"""By event: where among its arguments are paths that are changed, and the descriptor of the folder of each."""

PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind")


class Forbidden(BaseException):  # not an Exception, so that nothing swallows it
    """Raised in place of what is forbidden."""


class Guard:
    """Notes in `seen` what was forbidden, and prevents it.

    Args:
        folder: What may be written.
        allowed: Files that may be written, too.
    """

    def __init__(self, folder: str, allowed: tuple[str, ...] = ()) -> None:
        self.seen: list[str] = []
        self._allowed = (os.path.realpath(folder) + os.sep, *allowed)
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITES and not isinstance(path, int):
                self._check(event, path)
        elif event in PATHS:
            self._check_paths(event, arguments)
        elif event in PROGRAMS:
            self._forbid("program", f"{event} {arguments[0]!r}")
        elif event in NETWORK:
            self._forbid("network", f"{event} {arguments[1:]!r}")

    def _check_paths(self, event: str, arguments: tuple[Any, ...]) -> None:
        for place, folder in PATHS[event]:
            relative = folder < len(arguments) and arguments[folder] not in (-1, None)
            if not relative and not isinstance(arguments[place], int):
                self._check(event, arguments[place])

    def _check(self, event: str, path: Any) -> None:
        name = os.fsdecode(path)
        if "\0" in name:
            return
        parent, last = os.path.split(os.path.abspath(name))
        if not os.path.join(os.path.realpath(parent), last).startswith(self._allowed):
            self._forbid("written outside", f"{event} {name!r}")

    def _forbid(self, what: str, details: str) -> None:
        self.seen.append(f"{what}: {details[:200]}")
        raise Forbidden(self.seen[-1])
