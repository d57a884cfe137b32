from .data.activations import replaced_forward as replaced_forward
from .data.stream import Calibration as Calibration, Stream as Stream
from .data.tokens import Tokens as Tokens
from .errors import (
    AtlasError as AtlasError,
    AtlasWarning as AtlasWarning,
    BadInput as BadInput,
    NumericsError as NumericsError,
    Unavailable as Unavailable,
)
from .measure.perplexity import (
    Perplexity as Perplexity,
    perplexity as perplexity,
    split_perplexity as split_perplexity,
)
from .model.families import ROLES as ROLES
from .model.loading import load_model as load_model
from .model.modeling_pruned import (
    narrow_embedding as narrow_embedding,
    narrow_norm as narrow_norm,
    add_shortcuts as add_shortcuts,
)
from .model.surgery import (
    add_bias as add_bias,
    keep_channels as keep_channels,
    keep_kv_groups as keep_kv_groups,
    keep_units as keep_units,
    remove_blocks as remove_blocks,
    remove_units as remove_units,
)
from .model.units import (
    Cut as Cut,
    Kind as Kind,
    cuts as cuts,
    unit_costs as unit_costs,
    widths_left as widths_left,
)
from .model.view import (
    Attention as Attention,
    Block as Block,
    FeedForward as FeedForward,
    LanguageModel as LanguageModel,
)
from .progress import track as track
from .prune.allocation import (
    apportion as apportion,
    between_ends as between_ends,
    capped as capped,
    cheapest as cheapest,
    standardise as standardise,
    widths as widths,
)
from .prune.backwalk import BackwalkedBlock as BackwalkedBlock, backwalk as backwalk
from .prune.masked import masked as masked
from .prune.masks import (
    Pattern as Pattern,
    share_of as share_of,
    smallest as smallest,
    smallest_per_group as smallest_per_group,
)
from .prune.method import (
    Capabilities as Capabilities,
    Count as Count,
    Method as Method,
    NonNegative as NonNegative,
    Positive as Positive,
    Ratio as Ratio,
    UnitMethod as UnitMethod,
    WeightMethod as WeightMethod,
    Whole as Whole,
)
from .prune.prompt import PromptMethod as PromptMethod
from .prune.refit import (
    damped_factor as damped_factor,
    damped_inverse as damped_inverse,
    eliminate as eliminate,
    inverse_factor as inverse_factor,
    keep_refitted as keep_refitted,
)
from .prune.registry import get as get, methods as methods
from .prune.search import Candidates as Candidates, random_search as random_search
from .prune.similarity import cosine_distance as cosine_distance
from .prune.solvers import (
    factored as factored,
    sparse_solve as sparse_solve,
)
from .prune.statistics import (
    ColumnNorm as ColumnNorm,
    ColumnSum as ColumnSum,
    Gram as Gram,
    Moments as Moments,
    SampleNorm as SampleNorm,
    Statistic as Statistic,
)
from .prune.taylor import saliences as saliences, vector_scores as vector_scores
from .prune.walk import WalkedBlock as WalkedBlock, walk as walk, watched as watched
from .train.gates import (
    Gates as Gates,
    gated as gated,
    off_budget as off_budget,
)
from .train.loop import course as course, optimise as optimise
from .train.losses import (
    cross_entropy_of as cross_entropy_of,
    distillation_loss as distillation_loss,
    logits_of as logits_of,
    next_token_loss as next_token_loss,
)
from .train.low_rank import (
    Adapter as Adapter,
    adapter as adapter,
    check_low_rank as check_low_rank,
    low_rank as low_rank,
)
from .train.schedule import Plan as Plan
