"""Text, from its sources to token streams: collect, clean, deduplicate, mix, tokenize; and what is known of it."""
