"""The result files of its probes: those of the load run that a search is."""

from harness.reports import vllm

REPORT = vllm.REPORT
