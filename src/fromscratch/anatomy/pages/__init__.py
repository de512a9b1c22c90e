"""What a comparison found, on a terminal, as JSON and as one self-contained page."""
