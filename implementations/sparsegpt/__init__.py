from implementations.sparsegpt.sparsegpt import SparseGPT

__all__ = ["SparseGPT"]
