"""Loading of language models and of classifiers."""
