"""Generic helpers that know neither S3 nor Provena nor the kernel."""
