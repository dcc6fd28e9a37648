"""Encoder models seen as groups of parameters: embeddings, layers, head."""
