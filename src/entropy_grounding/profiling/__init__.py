"""The cost of passes, and the attention layer that looks at the evidence."""
