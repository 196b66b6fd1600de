"""The one page for any run: a load run, an evaluation, a comparison, a gate.

A module a section turns numbers into plain values and charts; `templates/` puts them into words.
Charts are plain SVG, drawn here, so that the page needs its script for comfort alone: read-outs,
and the browser of changed answers.
"""
