"""One module per scorer: a response becomes a SampleScore, scores become metrics."""
