"""The page of `luperson serve`: an index to look at, to search in and to label, in a browser."""
