"""Worker processes, each hosting one model, and the order in which they work."""
