"""Compares the speed of provenafs with rclone, s3fs and bare clients of the same S3 server."""
