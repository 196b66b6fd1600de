"""The page: the one that every run has."""

from harness.reports import html

REPORT = html.REPORT
