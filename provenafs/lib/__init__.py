"""General helpers without knowledge of S3, Provena or FUSE."""
