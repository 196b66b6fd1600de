"""Builds or engines side by side: what is asked of them, and what the answers amount to."""
