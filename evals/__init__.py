"""Asks and grades."""

DISTRIBUTION = "serving-load-harness"
