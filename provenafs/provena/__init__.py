"""The Provena services over httpx: login, data store, registry, search, credentials.

One client class per service, typed results, one error hierarchy (`errors`). The only room that
imports httpx. Idempotent calls are retried with backoff; minting and versioning never are.
"""
