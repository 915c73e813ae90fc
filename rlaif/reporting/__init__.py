"""What a person sees of a run: page, terminal, tables, checks."""
