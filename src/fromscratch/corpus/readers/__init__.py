"""Reading raw pages out of archives, folders and record files, without running anything in them."""
