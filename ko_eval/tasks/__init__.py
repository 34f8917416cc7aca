"""Task files, data sources and prompts: a task becomes samples and requests."""
