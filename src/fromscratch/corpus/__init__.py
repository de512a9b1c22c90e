"""Raw pages become clean documents: readers, extraction, language, quality, duplicates."""
