"""What becomes of a trained model: quantized, pruned, distilled, decoded with a cache."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "copies": "plain_copy",
    "quantize": "METHODS int8 rounded saved_bytes",
    "prune": "fewer_heads fewer_units fine_tune made_permanent sparse_bytes sparsity two_of_four unstructured",
    "gptq": "ALPHAS awq compensated gptq hessians largest_of nearest output_error scaled two_smallest",
    "distill": "fit_student soft_loss",
    "decode": "Cache attend cache_bytes generate",
    "speculative": "Ngrams Reader accept alone chances overlaps passes pick speculate speedup tokens_per_pass",
    "variants": "Variant calibration gaps longer measured stored teacher_config trained window_losses",
})  # fmt: skip
