"""The command line: one file per family of verbs. Holds no logic of its own."""
