"""The tiny VLMs: architectures, tokenizer, training, weights."""
