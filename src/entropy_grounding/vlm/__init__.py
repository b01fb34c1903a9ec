"""Vision-language models: one class, one small adapter per family."""
