"""Stand-in for a network camera: MJPEG over HTTP on loopback, which can be killed, frozen and restarted."""

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import cv2

from tests.support.squares import Picture


class MjpegServer:
    """Serves pictures in a loop.

    Args:
        pictures: Pictures that it sends.
        fps: Pictures per second.
        clients: Most clients at once. Others are refused at once, as simple cameras do.
        port: 0 for any that is free.
    """

    def __init__(self, pictures: Sequence[Picture], fps: float = 50, clients: int = 8, port: int = 0) -> None:
        self.frozen = False
        self.sent = 0
        self._data = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
        self._pause = 1 / fps
        self._free = threading.BoundedSemaphore(clients)
        self._open: list[socket.socket] = []
        self._closed = False
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/video"
        threading.Thread(target=self._accept, daemon=True).start()

    def kill(self) -> None:
        """Break all connections, and stop listening."""
        self._closed = True
        for one in [self._socket, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            if not self._free.acquire(blocking=False):
                connection.close()
                continue
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n")
            while not self._closed:
                while self.frozen and not self._closed:
                    time.sleep(0.01)
                data = self._data[self.sent % len(self._data)]
                self.sent += 1
                connection.sendall(b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                connection.sendall(data + b"\r\n")
                time.sleep(self._pause)
        except OSError:
            pass
        finally:
            connection.close()
            self._free.release()
