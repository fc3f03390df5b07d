"""provenafs: the datasets of a Provena data store, mounted as a drive."""

__version__ = "0.1.0"
