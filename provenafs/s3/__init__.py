"""S3 access through one class, `Bucket`.

It speaks of keys, ranges and ETags for one dataset's bucket with that dataset's temporary
credentials, which come from a callable. This is the only room that imports boto3, and no exception
of a library leaves it: every failure is an S3Error. `Wire` is the one way to the server, and
`error_codes` the one table of how each error code is handled. Blocking calls run in worker threads
under limiters; every call has a progress deadline.
"""
