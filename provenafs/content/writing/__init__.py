"""How does a changed file become an object?

`open_files` has the files that are open or not stored. `file` is one of them: its name, the version
of its object, and one of the states of `file_state`. What is written goes to its `working_copy`:
the staged bytes, the row that keeps them after a crash (`journal_row`: what a close that succeeds
or fails leaves in the journal), and the `publisher`, which makes them an object by one PUT or a
`multipart` upload, as `upload_plan` says. `name_changes` lets the journal, then the files know
that names are others by now. `writeback` stores in the background what a close has promised;
`recovered_file` makes a file of a row that an earlier mount has left. `keeping` saves what open
handles need of an object that is replaced here, `following` lets them see one that grows elsewhere;
`descriptors` bounds how many can be written.
"""
