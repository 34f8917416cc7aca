"""What the pages have in common: look, frame, words in two languages, charts."""
