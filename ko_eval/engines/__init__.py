"""Access to models: token ids in, log-probabilities or text out."""
