"""The server behind the page, on this machine alone."""

import socket

import uvicorn
from starlette.types import ASGIApp

from data_pipeline import terminal
from data_pipeline.errors import InputError

ADDRESS = "127.0.0.1"
"""Of this machine, which no other one reaches."""
PATIENCE_S = 2


def serve(app: ASGIApp, port: int) -> None:
    """Answers until Ctrl-C.

    Args:
        app: the page.
        port: 0 = one that is free.

    Raises:
        InputError: the port is taken, or not allowed.
    """
    if not 0 <= port < 1 << 16:
        raise InputError(f"--port is {port}; expected 0 to 65535")
    try:
        listening = socket.create_server((ADDRESS, port))
    except OSError as error:
        raise InputError(
            f"port {port} cannot be used ({error.strerror}); choose another one with --port, or 0 "
            "for any that is free"
        ) from error
    with listening:
        terminal.say(f"http://{ADDRESS}:{listening.getsockname()[1]}/ (Ctrl-C ends it)")
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=PATIENCE_S,
        )
        uvicorn.Server(config).run(sockets=[listening])
