"""Other people's formats: lm-evaluation-harness as a guest of ours, and ours of it."""
