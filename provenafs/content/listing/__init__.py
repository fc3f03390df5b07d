"""Directories and the object index.

`index` has every entry that was ever shown, in `database`, and their inode numbers. `listing` makes
the LIST requests of one directory, or of a whole subtree, and merges them page by page; `keys` says
which keys can be files; `list_ahead` recognises a directory walk and lists ahead of it;
`object_attributes` reads the times and modes that objects carry.
"""
