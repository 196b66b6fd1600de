"""What earlier runs found: blessed baselines, and each metric over time."""
