"""Brings servers up and watches them: builds, engines, processes, readiness."""

DISTRIBUTION = "serving-load-harness"
