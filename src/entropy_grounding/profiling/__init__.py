"""What passes cost, and which attention layer looks at the evidence."""
