"""Judge prompts."""
