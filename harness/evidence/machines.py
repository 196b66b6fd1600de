"""One short word for a machine, equal for equal machines and for no others."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

UNKNOWN: Final = "unknown"
_DIGEST: Final = 6
_MAX_NAME: Final = 40
_DECIDES: Final = (
    "cpu", "machine", "cores", "cores_usable", "cpu_limit", "cpu_flags", "memory_limit_gib",
)  # fmt: skip
"""Of the manifest's `host`; beside them the GPUs' names and memory. Kernel, Python and driver may
be updated on a machine that stays the same, and its memory is told differently by each kernel."""
_NOISE: Final = re.compile(r"\((?:R|TM)\)|\b(?:CPU|Processor)\b|@.*$|\d+-Core", re.IGNORECASE)


def machine_word(host: object, server: Mapping[str, Any] | None = None) -> str:
    """Return e.g. `AMD-EPYC-7763-2c-8f31a0` or `2x-NVIDIA-H100-80GB-HBM3-5d02c7`.

    Args:
        host: a manifest's `host`; None in runs that lack it.
        server: provenance of the server, which may be on another machine than the client is
            (then its host is in the word), or on the CPU of one that has GPUs.
    """
    server = server or {}
    word = _local(host) if isinstance(host, dict) and host else UNKNOWN
    if isinstance(host, dict) and host.get("gpus") and server.get("device") == "cpu":
        word += "-cpu-only"
    far = sorted({name for name in map(_host_of, _addresses(server)) if name})
    return f"{word}->{'+'.join(far)}" if far else word


def _local(host: dict[str, Any]) -> str:
    gpus = Counter(str(gpu.get("name")) for gpu in host.get("gpus") or [])
    decides = {name: host.get(name) for name in _DECIDES}
    decides["gpus"] = [[gpu.get("name"), gpu.get("memory_gib")] for gpu in host.get("gpus") or []]
    data = msgspec.json.encode(decides, order="sorted")
    digest = hashlib.sha256(data).hexdigest()[:_DIGEST]
    if gpus:
        name = "+".join(f"{n}x {gpu}" if n > 1 else gpu for gpu, n in sorted(gpus.items()))
    else:
        cores = host.get("cores_usable") or host.get("cores") or "?"
        name = f"{_NOISE.sub(' ', str(host.get('cpu') or UNKNOWN))} {cores}c"
    return f"{_slug(name)}-{digest}"


def _addresses(server: Mapping[str, Any]) -> list[str]:
    replicas = server.get("replicas")
    several = [one for one in replicas if isinstance(one, dict)] if replicas else []
    return [str(one["url"]) for one in (server, *several) if one.get("url")]


def _host_of(url: str) -> str:
    """The host of a URL; empty for this machine."""
    try:
        name = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    if name == "localhost":
        return ""
    try:
        return "" if ipaddress.ip_address(name).is_loopback else name
    except ValueError:
        return name


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9+.]+", "-", text).strip("-")[:_MAX_NAME].strip("-")
