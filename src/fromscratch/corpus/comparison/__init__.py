"""What needs other documents: shared paragraphs, duplicates, the index of what is kept, the held-out share."""
