"""A local Provena for trying out and for tests: HTTP services and a real S3 server."""
