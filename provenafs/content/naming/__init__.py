"""How do names change?

`namespace` creates, makes and removes; `renames` renames files and directories, in the bucket by
`moves`. A removal may be carried out later (`deferred_deletes`), many at once (`delete_queue`);
`mtime_updates` brings times and modes that were set into the objects. An empty directory is an
object of its own (`markers`). Who works on which name is claimed first, in `content.claims`.
"""
