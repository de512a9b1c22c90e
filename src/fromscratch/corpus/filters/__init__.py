"""The filters of the cascade, a file each: what it may be told, and how it judges."""
