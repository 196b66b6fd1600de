"""Quality: suites asked of servers through their endpoints, compared with a baseline."""
