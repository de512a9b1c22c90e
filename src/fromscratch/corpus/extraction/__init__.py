"""Raw pages to text: encodings, and the main content of HTML."""
