"""One cell while it is driven."""
