"""Every row of what the official client calls and must get, by part of it."""
