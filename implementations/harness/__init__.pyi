from .data.tokens import (
    Calibration as Calibration,
    Stream as Stream,
    Tokens as Tokens,
    check_predictions as check_predictions,
)
from .errors import (
    AtlasError as AtlasError,
    AtlasWarning as AtlasWarning,
    BadInput as BadInput,
    NumericsError as NumericsError,
    Unavailable as Unavailable,
)
from .measure.perplexity import perplexity as perplexity, split_perplexity as split_perplexity
from .model.experts import Experts as Experts
from .model.execution import replaced_forward as replaced_forward
from .model.hidden_width import multiply_gain as multiply_gain
from .model.loading import load_model as load_model
from .model.modeling_pruned import set_stream_matrix as set_stream_matrix
from .model.stream_rotation import (
    Half as Half,
    halves as halves,
    rotate_embedding as rotate_embedding,
)
from .model.surgery import (
    add_bias as add_bias,
    keep_channels as keep_channels,
    keep_experts as keep_experts,
    keep_kv_groups as keep_kv_groups,
    keep_units as keep_units,
    remove_blocks as remove_blocks,
    remove_units as remove_units,
    set_expert_count as set_expert_count,
)
from .model.units import (
    block_weights as block_weights,
    Cut as Cut,
    cuts as cuts,
    experts_left as experts_left,
    Kind as Kind,
    total_weights as total_weights,
    unit_costs as unit_costs,
    widths_left as widths_left,
)
from .model.view import (
    Attention as Attention,
    Block as Block,
    FeedForward as FeedForward,
    LanguageModel as LanguageModel,
    PARTS as PARTS,
    ROLES as ROLES,
    require_whole_layers as require_whole_layers,
)
from .progress import track as track
from .prune.acting import acting as acting, Position as Position
from .prune.activation_masks import (
    Kept as Kept,
    MaskedLinear as MaskedLinear,
    Masker as Masker,
    Quantiles as Quantiles,
)
from .prune.activation_method import ActivationMethod as ActivationMethod, Drop as Drop
from .prune.activation_search import greedy_shares as greedy_shares
from .prune.allocation import (
    apportion as apportion,
    between_ends as between_ends,
    capped as capped,
    cheapest as cheapest,
    standardise as standardise,
    widths as widths,
)
from .prune.backwalk import backwalk as backwalk, BackwalkedBlock as BackwalkedBlock
from .prune.base_methods import (
    prune_by_input_norms as prune_by_input_norms,
    prune_by_magnitude as prune_by_magnitude,
    prune_by_solving as prune_by_solving,
)
from .prune.block_training import (
    gradient_step as gradient_step,
    output_error as output_error,
    block_outputs as block_outputs,
    run_with_weights as run_with_weights,
)
from .prune.expert_method import ExpertMethod as ExpertMethod, Routed as Routed, routed as routed
from .prune.masked import masked as masked
from .prune.method import (
    Capabilities as Capabilities,
    Count as Count,
    Method as Method,
    Ratio as Ratio,
    Whole as Whole,
)
from .prune.parallel import add_up as add_up, added_up as added_up
from .prune.prefixes import prefixes as prefixes
from .prune.refit import (
    damped_factor as damped_factor,
    damped_inverse as damped_inverse,
    eliminate as eliminate,
    inverse_factor as inverse_factor,
    keep_refitted as keep_refitted,
)
from .prune.registry import get_method as get_method
from .prune.search import Candidates as Candidates, random_search as random_search
from .prune.similarity import angle as angle, cosine_distance as cosine_distance
from .prune.solvers import factored_layers as factored_layers, sparse_solve as sparse_solve
from .prune.statistics import (
    ColumnNorm as ColumnNorm,
    ColumnSum as ColumnSum,
    Gram as Gram,
    Moments as Moments,
    SampleNorm as SampleNorm,
)
from .prune.taylor import (
    gradient_norms as gradient_norms,
    norms_on_host as norms_on_host,
    saliences as saliences,
    vector_scores as vector_scores,
)
from .prune.uniform_shape import (
    cut_to_shape as cut_to_shape,
    shape_of as shape_of,
    ShapeChoices as ShapeChoices,
    UniformShape as UniformShape,
)
from .prune.unit_method import UnitMethod as UnitMethod
from .prune.walk import (
    walk as walk,
    WalkedBlock as WalkedBlock,
    watched as watched,
)
from .prune.weight_method import (
    NM as NM,
    Pattern as Pattern,
    share_of as share_of,
    smallest as smallest,
    smallest_per_group as smallest_per_group,
    WeightMethod as WeightMethod,
)
from .results.families import FIXED_WIDTH as FIXED_WIDTH, ONE_BASIS as ONE_BASIS
from .results.store import methods as methods
from .results.reading import NonNegative as NonNegative, Positive as Positive
from .train.gates import (
    gated as gated,
    gated_hidden as gated_hidden,
    Gates as Gates,
    budget_loss as budget_loss,
)
from .train.loop import training_course as training_course, optimise as optimise
from .train.losses import (
    cross_entropy_of as cross_entropy_of,
    distillation_loss as distillation_loss,
    logits_of as logits_of,
    next_token_loss as next_token_loss,
)
from .train.low_rank import (
    adapter_parameters as adapter_parameters,
    check_low_rank as check_low_rank,
    low_rank as low_rank,
)
from .train.schedule import Plan as Plan
