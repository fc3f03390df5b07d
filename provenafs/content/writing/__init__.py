"""Open files, and how a changed one becomes an object.

`open_files` has the files that are open or not stored. `file` is one of them: its name, the version
of its object, and one of the states of `file_state`. Writes go to its `working_copy`: the staged
bytes, the journal row that keeps them after a crash (`journal_row` says what a close that succeeds
or fails leaves in the journal), and the `publisher`, which stores them by one PUT or a `multipart`
upload, as `upload_plan` decides. `name_changes` updates the journal, then the open files, after a
rename. `writeback` stores acknowledged closes in the background; `recovered_file` makes a file of a
row that an earlier mount left. `keeping` preserves the bytes of a replaced object for open handles,
`following` lets handles follow an object that another client appends to; `descriptors` limits how
many files can be written at once.
"""
