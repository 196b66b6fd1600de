"""Decides what is sent when, sends it, and stamps what comes back."""

DISTRIBUTION = "serving-load-harness"
