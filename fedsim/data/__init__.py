"""Text: corpora, tokens, who owns which sample, and the batches a client trains on."""
