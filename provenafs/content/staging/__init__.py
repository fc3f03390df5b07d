"""Which bytes are on disk and must not be lost?

`staged_bytes` is a changed file on the local disk, over the object it was made from; `write_buffer`
holds the end of one that is written in sequence on its way there; `ranges` says which bytes are
where.
"""
