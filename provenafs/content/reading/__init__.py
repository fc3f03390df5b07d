"""Reads and read-ahead.

A `reader` serves one handle of one object version. `access_pattern` predicts from the offsets read
so far what to fetch ahead: the rest of a stream, the next of `strides` or of a `lattice`, the rest
of `runs` as long as those before. A `fetched_range` is bytes in memory or in flight, `held_ranges`
is many of them, and all of them count in one `budget`; `object_source` gets them from the block
cache or from the bucket.

`object_reads` is shared by all handles of an object version: how long they have waited, after which
`whole_fetch` caches the whole object, and ranges that were fetched before it was opened.
`directory_prefetch` prefetches small files; `sibling_ranges` prefetches from larger files the
ranges that `alike` has found to be read in several files of a folder. `sweeper` drops
what nobody came for.
"""
