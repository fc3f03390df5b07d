"""The bytes: objects of buckets as files, read, written and renamed.

Speaks of entries, objects and ranges; knows neither the kernel nor Provena. Credentials and the
write-permission check are passed in as callables.

The model
    A dataset is a prefix of keys in a bucket (`drive`, `volume`). An entry of the index stands for
    each name that was shown; its inode number is never used again. Another client's new version of
    an object is a new entry; our own writes and renames keep theirs. A file that is open or not
    stored is a `File`, found by its inode.

Invariants
    - Every GET names the version that is read; every change names the version that it replaces.
    - A journal row exists before the first byte of a change is acknowledged; the index is ahead of
      the bucket for staged entries only.
    - Names are claimed (`claims`), then files are locked in the order of their inodes, then the
      decision is made; keys are worked out after the wait.
    - Nothing in the cache is needed; nothing in staging may be lost.

The ways through it
    read      open_files.FileHandle → reading.Reader → object_source → cache, or the bucket
    write     File → WorkingCopy: a JournalRow, then StagedBytes → WriteBuffer → disk;
              its Publisher sends parts meanwhile
    close     File → WorkingCopy → Publisher → one PUT or a multipart upload → index → journal
    rename    Namespace → claims → an intent in the journal → copies → index → deletions
    delete    Namespace → claims → the bucket, or an intent and DeferredDeletes
    recovery  before the first request: rows and intents of mounts that are gone; what was
              acknowledged is finished, the rest waits for the user
"""
