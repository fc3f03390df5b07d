"""Create, unlink and rename.

`namespace` creates and removes names; `renames` renames files and directories, in the bucket by
`moves`. A removal may be deferred (`deferred_deletes`) and sent with many others (`delete_queue`);
`attribute_updates` writes changed times and modes to the metadata of objects. An empty directory is
an object of its own (`markers`). Names are claimed first, in `content.claims`.
"""
