"""Training methods: each decides stages and plans, in a file of its own."""
