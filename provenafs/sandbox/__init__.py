"""A local Provena for experiments and tests: HTTP services and a real S3 server."""
