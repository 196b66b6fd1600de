"""The samples of all probes: those of the load run that a search is."""

from harness.reports import csv

REPORT = csv.REPORT
