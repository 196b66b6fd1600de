"""One cell driven by several processes, here or elsewhere: a master and its workers."""
