"""Bytes on disk that the bucket does not have yet, and that must not be lost.

`staged_bytes` is the local copy of a changed file, over the object it was made from; `write_buffer`
buffers the tail of a sequential write before it goes to disk; `ranges` tracks which bytes
are where.
"""
