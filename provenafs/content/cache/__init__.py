"""The block cache on disk; everything in it can be fetched again.

`block_cache` decides what is cached, evicts the least recently used and verifies each granule once
after a restart; `segments` is the layout on disk, `open_segments` has the segment files that are
being read.
"""
