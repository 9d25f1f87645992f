"""Words as prompts: what was asked, which regions there are, and which of them it names."""
