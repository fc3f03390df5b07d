"""Operations on datasets, shared by the mount and the command line."""
