"""Your own picture and question: the ground command and the panel for notebooks."""
