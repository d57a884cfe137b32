# Building blocks of methods.
from implementations.harness import *

# Protocols and their text, measurements, records, and saving a pruned model.
from implementations.harness.data.samples import (
    Samples as Samples,
    prepare_samples as prepare_samples,
)
from implementations.harness.measure.divergence import (
    DensePredictions as DensePredictions,
    Quality as Quality,
)
from implementations.harness.measure.memory import footprint as footprint
from implementations.harness.measure.generation import (
    Continuation as Continuation,
    continuation as continuation,
)
from implementations.harness.measure.perplexity import (
    Perplexity as Perplexity,
    perplexity as perplexity,
)
from implementations.harness.measure.speed import speed as speed
from implementations.harness.measure.zero_shot import (
    load_tasks as load_tasks,
    zero_shot as zero_shot,
)
from implementations.harness.model.saving import save_model as save_model
from implementations.harness.prune.method import Outcome as Outcome
from implementations.harness.results.protocol import (
    Protocol as Protocol,
    get_protocol as get_protocol,
)
from implementations.harness.results.record import Rate as Rate, Record as Record, Speed as Speed
from implementations.harness.results.store import (
    load_record as load_record,
    load_records as load_records,
    published_folders as published_folders,
)

__version__: str
