"""What a server would do at loads nobody measured: a simulator of continuous batching."""
