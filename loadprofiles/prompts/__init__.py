"""What users say, and how long it is: from distributions and files to request bodies."""
