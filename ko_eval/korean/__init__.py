"""Korean text: sentences, script and syllables."""
