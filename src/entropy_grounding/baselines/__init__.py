"""What the method is compared with, in the same pipeline."""
