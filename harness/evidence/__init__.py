"""What finished runs say: read from their folders, however many runs and kinds there are."""
