"""Pre-train an encoder, fine-tune it on pairs, and measure what that was worth."""
