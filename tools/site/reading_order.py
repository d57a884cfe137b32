"""A way through the methods that are implemented: in which order to read them, and what for."""

ORDER: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Single weights",
        (
            ("magnitude", "The rule that all others have to beat; know how it fails."),
            ("wanda", "One factor more, and large models survive: the least that works."),
            ("sparsegpt", "The second-order view made fast enough; what stays absorbs the error."),
            ("ria", "Why whole channels vanish under size alone, and a score that prevents it."),
            ("dsnot", "A mask is not final: swap weights until the error is small."),
            ("owl", "Not every block can give the same; outliers say which."),
            ("ast", "2:4 by training, when one shot loses too much."),
        ),
    ),
    (
        "Heads and channels",
        (
            ("llmpruner", "What depends on what: the groups that must go together."),
            ("flap", "Remove what hardly varies and keep its mean as a bias."),
            ("fasp", "Coupled matrices: a column that goes takes a row along for nothing."),
            ("slimgpt", "Optimal Brain Surgeon for whole heads and channels."),
            ("bonsai", "No gradients: switch off random subsets and regress."),
            ("slicegpt", "Rotate first, so that something small can be cut off."),
            ("twossp", "Width first, then attention, and a formula between the two."),
        ),
    ),
    (
        "Whole blocks",
        (
            ("shortgpt", "Blocks that hardly turn the hidden state can go."),
            ("evop", "Why picking them greedily misses better sets."),
        ),
    ),
    (
        "Learning what to remove",
        (
            ("loraprune", "Adapters give gradients at the price of adapters."),
            ("displlm", "Masks trained under a budget while the weights stay as they are."),
            ("maskprune", "The same with widths that stock kernels can run."),
        ),
    ),
    (
        "For one purpose",
        (
            ("dpruner", "Keep one domain without losing the rest."),
            ("griffin", "Let the prompt choose its channels, anew each time."),
            ("kvpruner", "Make the cache smaller, not only the weights."),
        ),
    ),
)
"""Headings, and below each the slug of a paper with one sentence on why to read it."""
