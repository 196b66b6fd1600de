"""Serving-load benchmark harness: composes launchers, load profiles and evals into a decision."""

__version__ = "0.1.0"
