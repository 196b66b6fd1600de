"""What a worker adds to its share of a plan: its own machine's secrets and files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loadprofiles.descriptors import short_of
from loadprofiles.records import HEADERS_VARIABLE

if TYPE_CHECKING:
    from loadprofiles.records import DrivePlan
    from loadprofiles.workers.messages import Orders, Task

_AUTHORITIES_FILE = "authorities.pem"


class Refusal(Exception):  # noqa: N818 - not an error of this process's
    """This worker cannot go on; the text says why."""


def equip(task: Task, orders: Orders) -> DrivePlan:
    """Return the plan as it is on this machine: with its own secrets and files.

    Raises:
        Refusal: a header's value, the bearer token or the file descriptors are not here.
    """
    assert task.share is not None  # noqa: S101 - the caller has looked
    plan = task.share.plan
    if shortage := short_of(plan.streams or 0):
        raise Refusal(shortage)
    values = msgspec.json.decode(os.environ.get(HEADERS_VARIABLE, "{}"), type=dict[str, str])
    for name in plan.headers:
        if name not in values:
            raise Refusal(
                f"has no value for the header {name}: give `harness worker` --header {name}=…"
            )
    if plan.api_key_env is not None:
        variable = orders.api_key_env
        if variable is None and orders.slot is not None:
            variable = plan.api_key_env
        if variable is None:  # whoever is joined must not choose what of this machine is sent
            raise Refusal(
                f"was not told to send a key: give `harness worker` --api-key-env "
                f"{plan.api_key_env}, or the variable that has it there"
            )
        if not os.environ.get(variable):
            raise Refusal(
                f"has nothing in its environment variable {variable}: export it before "
                "`harness worker`, or name another one there with --api-key-env"
            )
        plan = msgspec.structs.replace(plan, api_key_env=variable)
    if task.authorities is not None:
        path = Path(orders.folder) / _AUTHORITIES_FILE
        path.write_bytes(task.authorities)
        plan = msgspec.structs.replace(plan, ca_file=str(path))
    return plan
