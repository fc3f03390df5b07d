"""The S3 bucket behind one class.

`Bucket` speaks of keys, ranges and ETags for one dataset's bucket with that dataset's temporary
credentials, which it asks a callable for. It is the only room that imports boto3, and no
exception of a library leaves it: what goes wrong is an S3Error. `Wire` is its one way to the
server, and `error_codes` the one table of what the server's refusals ask for. Blocking calls run
in worker threads under limiters; every call has a progress deadline.
"""
