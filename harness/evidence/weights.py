"""What a build's weights are and which kernel multiplies them, from its server's provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def weights_of(provenance: Mapping[str, object]) -> str | None:
    """Return e.g. `4-bit, group 128, asym, MarlinLinearKernel`; None where nobody says.

    The first part is the checkpoint's own word (`launchers.checkpoint`), the kernel the engine's.
    """
    told = provenance.get("scheme"), kernel_of(provenance)
    return ", ".join(text for text in told if isinstance(text, str)) or None


def kernel_of(provenance: Mapping[str, object]) -> str | None:
    """Return the kernel of the linear layers that an engine's log named, if it did."""
    reported = provenance.get("reported")
    kernel = reported.get("linear_kernel") if isinstance(reported, dict) else None
    return kernel if isinstance(kernel, str) else None
