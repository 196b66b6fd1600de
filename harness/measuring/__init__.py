"""From the samples of a cell to its numbers. Pure; definitions are in docs/method.md."""
