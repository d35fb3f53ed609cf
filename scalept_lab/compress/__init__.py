"""What becomes of a trained model: quantized, pruned, distilled, decoded with a cache."""
