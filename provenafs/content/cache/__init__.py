"""Which bytes are kept on disk, disposable?

`block_cache` keeps blocks of object versions, evicts those used least recently and verifies each
block once after a restart; `segments` is how they lie on disk, `open_segments` those that are read
from now.
"""
