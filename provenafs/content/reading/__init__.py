"""How does a byte come?

A `reader` belongs to one handle and one object version. `access_pattern` and `strides` decide from
the places that are read what is fetched ahead; `fetched_range` is bytes in memory or on their way,
counted in one `budget`; `object_source` gets them from the block cache or the bucket.
`directory_prefetch` has small files ready before they are opened.
"""
