"""Plain Locust, `FastHttpUser` (geventhttpclient), with the same locustfile."""

from __future__ import annotations

from functools import partial

from client import Client
from clients.locust import argv, read

CLIENT = Client(
    title="Locust FastHttpUser",
    environment="locust",
    package="locust",
    argv=partial(argv, user="FastHttpUser"),
    read=read,
    kinds=frozenset({"closed", "constant"}),
    http="geventhttpclient",
)
