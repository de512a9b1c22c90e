"""How attention and the loss cut their work into tiles, which decides their speed and their memory."""

__all__ = ["BLOCKWISE_TOKENS", "LOSS_POSITIONS_CPU", "QUERIES_PER_BLOCK", "keys_per_query", "loss_positions"]

# On a CPU, attention as products of blocks takes half the time of the fused kernel in bf16, forward and backward, and
# skips the blocks that look ahead (docs/decisions/attention-in-blocks.md). It keeps its shares for the backward pass,
# which the fused kernel does not, so longer windows go there.
QUERIES_PER_BLOCK = 128
BLOCKWISE_TOKENS = 1024

# Positions whose logits exist at the same time: on a CPU few enough to stay in its cache between the passes over them.
LOSS_POSITIONS_CPU = 512
LOSS_POSITIONS_GPU = 2048
LOGITS_CPU, LOGITS_GPU = 1 << 22, 1 << 25  # so many numbers at most, where the vocabulary is large


def loss_positions(vocabulary: int, on_gpu: bool) -> int:
    """Positions in a chunk of the loss."""
    most, logits = (LOSS_POSITIONS_GPU, LOGITS_GPU) if on_gpu else (LOSS_POSITIONS_CPU, LOGITS_CPU)
    return max(64, min(most, logits // vocabulary // 64 * 64))


def keys_per_query(sequence_tokens: int) -> float:
    """Keys for which blockwise attention computes a score, averaged over the queries of a sequence."""
    blocks = range(0, sequence_tokens, QUERIES_PER_BLOCK)
    ends = [(start, min(start + QUERIES_PER_BLOCK, sequence_tokens)) for start in blocks]
    return sum((end - start) * end for start, end in ends) / sequence_tokens
