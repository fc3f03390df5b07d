"""The S3 bucket behind one class.

`Bucket` speaks of keys, ranges and ETags for one dataset's bucket with that dataset's temporary
credentials, which it asks a callable for. It is the only room that imports boto3 and obstore.
Blocking calls run in worker threads under limiters; every call has a progress deadline.
"""
