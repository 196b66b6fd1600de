"""One load run end to end: checks, cells, the driver's process, what is kept."""
