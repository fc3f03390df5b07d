"""How does a byte come?

A `reader` belongs to one handle and one object version. `access_pattern` decides from the places
that are read what is fetched ahead: of a stream, of `strides` and a `lattice`, of `runs` as long as
those before. `fetched_range` is bytes in memory or on their way, `held_ranges` many of them, all
counted in one `budget`; `object_source` gets them from the block cache or the bucket.

What all handles of an object version share is in `object_reads`: how long they have waited, after
which `whole_fetch` caches the object whole, and ranges that were fetched before it was opened.
`directory_prefetch` has small files ready, `sibling_ranges` those parts of larger ones at which the
files of a folder are read `alike`.
"""
