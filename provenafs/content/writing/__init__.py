"""How does a changed file become an object?

`open_files` has the files that are open or not stored; `file` is one of them, with its staged bytes
and its journal row; `publisher` makes it an object by one PUT or a `multipart` upload, as
`upload_plan` says. `keeping` saves what open handles need of an object that is replaced here,
`following` lets them see one that grows elsewhere; `descriptors` bounds how many can be written.
"""
