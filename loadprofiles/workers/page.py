"""Locust's own web page, shown by the master while its workers drive a cell.

The workers do not notice it: the page is computed in the master's process. It can end the cell
and nothing else, since what is sent was decided before. A module of the driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
from flask import jsonify, request
from locust.stats import stats_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from locust.env import Environment

HOST = "127.0.0.1"
_REFUSED = {"/swarm", "/user", "/stats/reset"}


def open_page(environment: Environment, port: int, on_stop: Callable[[], None]) -> None:
    """Serve Locust's page at a port of the loopback address, until the process ends.

    `on_stop` is called when somebody presses its Stop button.
    """
    page = environment.create_web_ui(host=HOST, port=port, delayed_start=True)
    assert page.app is not None  # noqa: S101 - made by its constructor

    @page.app.before_request
    def decide() -> Any:  # noqa: ANN401 - Flask's response, or None to go on
        if request.path == "/stop":
            on_stop()
            return jsonify({"success": True, "message": "The cell ends; what there is is kept"})
        if request.path in _REFUSED:
            said = "The harness decides what is sent; this page can only stop it"
            return jsonify({"success": False, "message": said}), 403
        return None

    page.start()  # type: ignore[no-untyped-call]
    gevent.spawn(stats_history, environment.runner)  # what the page's charts are drawn from
