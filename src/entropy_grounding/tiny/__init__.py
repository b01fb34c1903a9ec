"""The tiny VLMs: architectures, tokenizer, training batches, training, check and weights."""
