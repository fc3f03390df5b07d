"""What does a directory show?

`index` has every entry that was ever shown, in `database`, and their inode numbers. `listing` makes
the LIST of one directory, or of a whole subtree, and merges it page by page; `keys` says which keys
can be files; `list_ahead` notices a walk and lists before it; `object_attributes` asks the objects
for their own times.
"""
