"""The stages of pipelines, one file each; found by their entry points."""
