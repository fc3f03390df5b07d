"""What can be done to a dataset, once, for files and verbs alike."""
