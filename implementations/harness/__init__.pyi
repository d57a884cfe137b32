from .prune.allocation import cheapest as cheapest, check_budget as check_budget
from .errors import (
    AtlasError as AtlasError,
    AtlasWarning as AtlasWarning,
    BadInput as BadInput,
    NumericsError as NumericsError,
    Unavailable as Unavailable,
)
from .model.loading import load_model as load_model
from .prune.masks import (
    share_of as share_of,
    smallest as smallest,
    smallest_per_group as smallest_per_group,
)
from .prune.method import (
    Capabilities as Capabilities,
    Count as Count,
    Method as Method,
    NonNegative as NonNegative,
    Pattern as Pattern,
    Ratio as Ratio,
    get as get,
    methods as methods,
)
from .model.view import (
    Attention as Attention,
    Block as Block,
    FeedForward as FeedForward,
    LanguageModel as LanguageModel,
)
from .progress import track as track
from .prune.statistics import ColumnNorm as ColumnNorm, Gram as Gram, Moments as Moments
from .model.surgery import (
    add_bias as add_bias,
    keep_channels as keep_channels,
    keep_kv_groups as keep_kv_groups,
    remove_blocks as remove_blocks,
)
from .data.text import Tokens as Tokens
from .prune.walk import WalkedBlock as WalkedBlock, walk as walk
