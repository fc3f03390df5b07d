"""What knows neither S3 nor Provena nor the kernel: each file could be a package of its own."""
