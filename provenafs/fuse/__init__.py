"""The adapter to the kernel, and the only room that imports pyfuse3.

Inode to node, kernel cache policy, mount and unmount; errors are mapped to errno in
`tree.failures` and `catalog.failures`. Invariants:
one guard wraps every handler, so that no exception but FUSEError leaves one (any other would end
the mount); no handler waits without a progress deadline; the kernel is notified of changes from
a thread of its own, never from a handler (that deadlocks).
`operations` has the handlers; `shared` checks them for other local users (--allow-other).
"""
