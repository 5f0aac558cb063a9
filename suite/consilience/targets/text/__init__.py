"""Language models that read prompts: one file per family."""
