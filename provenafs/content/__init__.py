"""The bytes: object index, block cache, read-ahead, staging, journal, uploads.

Speaks of entries, objects and ranges; knows neither the kernel nor Provena. Credentials and the
may-I-write check come in as callables.
"""
