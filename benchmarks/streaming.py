"""A sender of its own: gives a text to the first client of a raw TCP port."""

from __future__ import annotations

import multiprocessing
import os
import socket
from multiprocessing.connection import Connection


class streaming:  # noqa: N801 - used like a function
    """A process, on CPU `cpu` where given, that gives `text` to the first client of a raw TCP port; yields the port."""

    def __init__(self, text: bytes, cpu: int | None = None) -> None:
        self._text = text
        self._cpu = cpu

    def __enter__(self) -> int:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        self._process = multiprocessing.Process(target=_serve, args=(self._text, self._cpu, sender), daemon=True)
        self._process.start()
        sender.close()  # so that a sender that dies is an EOFError here, and no wait for ever
        port: int = receiver.recv()
        return port

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _serve(text: bytes, cpu: int | None, ready: Connection) -> None:
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    with socket.create_server(("127.0.0.1", 0)) as server:
        ready.send(server.getsockname()[1])
        client, _ = server.accept()
        with client:
            client.sendall(text)
            client.recv(1)  # until the reader is done
