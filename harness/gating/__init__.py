"""The gate: rules that a candidate must keep, asked for in the order of what they cost."""
