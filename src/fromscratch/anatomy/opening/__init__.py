"""Opening any checkpoint without running it: headers first, numbers by byte range, nothing believed unchecked."""
