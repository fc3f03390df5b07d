"""The node and handle classes of the mount, independent of kernel and HTTP.

A node is found by its inode number, which is the row id of its entry in the object index; the
path of names from the root decides the class (`Tree.node`). Nothing here is cached per inode but
what is open, so memory does not grow with what has been listed.
"""
