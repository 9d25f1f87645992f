"""Starting and stopping: a socket, the event loop, and an end that finishes what is in flight."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import uvicorn

from samedge.errors import SamedgeError
from samedge.files.addresses import address_named
from samedge.predict.predictor import Predictor
from samedge.web.server.app import application
from samedge.web.server.connection import connection_class
from samedge.web.server.extension import Extend
from samedge.web.server.service import Service
from samedge.web.server.settings import ServeSettings

_KEEP_ALIVE_S = 15
_BACKLOG = 512
_HEAD_BYTES = 32 * 1024


class _Server(uvicorn.Server):
    """uvicorn's server, which a signal ends without ending the process by that signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on the first signal, at once on the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal."""
        del frame
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def listening(settings: ServeSettings) -> socket.socket:
    """A socket that listens where the settings say.

    Raises:
        OptionError: the port is taken, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with address_named(settings.host, settings.port):
            sock.bind((settings.host.removeprefix("[").removesuffix("]"), settings.port))
            sock.listen(_BACKLOG)
    except SamedgeError:
        sock.close()
        raise
    return sock


def address(settings: ServeSettings, sock: socket.socket) -> str:
    """Where a listening socket is reached."""
    port = sock.getsockname()[1]
    host = settings.host.removeprefix("[").removesuffix("]")
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(
    predictor: Predictor,
    settings: ServeSettings,
    *,
    protocols: Sequence[str] | None = None,
    extend: Extend | None = None,
    on_start: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT; what is in flight then is finished.

    Args:
        predictor: an open one, for this server alone.
        settings: of the server.
        protocols: of other programs; ``None`` is all.
        extend: makes what goes beside the server's own operations and page.
        on_start: is called with the address when the server listens.

    Raises:
        OSError: the port is taken.
        UnknownNameError: there is no such protocol.
    """
    with (
        contextlib.closing(listening(settings)) as sock,
        contextlib.closing(Service(predictor, settings)) as service,
    ):
        server = _server(service, protocols, extend)
        on_start(address(settings, sock))
        asyncio.run(server.serve(sockets=[sock]))


@contextlib.contextmanager
def running(
    predictor: Predictor,
    settings: ServeSettings,
    *,
    protocols: Sequence[str] | None = None,
    extend: Extend | None = None,
) -> Iterator[str]:
    """A server in a thread for as long as the context lasts; the arguments are those of `serve`.

    Yields:
        Its address.
    """
    with (
        contextlib.closing(listening(settings)) as sock,
        contextlib.closing(Service(predictor, settings)) as service,
    ):
        server = _server(service, protocols, extend)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[sock])), name="samedge-serve"
        )
        thread.start()
        try:
            yield address(settings, sock)
        finally:
            server.should_exit = True
            thread.join()


def _server(service: Service, protocols: Sequence[str] | None, extend: Extend | None) -> _Server:
    settings = service.settings
    extension = None if extend is None else extend(service)
    config = uvicorn.Config(
        application(service, names=protocols, extension=extension),
        http=connection_class(settings),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.stop_s)),
        h11_max_incomplete_event_size=_HEAD_BYTES,
        backlog=_BACKLOG,
    )
    return _Server(config)
