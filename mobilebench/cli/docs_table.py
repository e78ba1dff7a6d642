"""The table of the packaged models in docs/models.md: our counts, and what Table 1 of Beyond ImageNet prints."""

from __future__ import annotations

from mobilebench import models
from mobilebench.models import model_table
from mobilebench.studies.beyond_imagenet.published import printed_costs

CLASSES = 10
RESOLUTION = 224
NUMBERS = ("params", "MACs, M", "deployed, M", "Table 1, M")  # the last two: parameters / MACs
HEADINGS = ("model", *NUMBERS, "what it is")
NOTE = (
    f"Parameters with {CLASSES} classes; MACs (multiply-adds of convolutions, linear layers and attention) of one "
    f"{RESOLUTION} px image. *Deployed*: parameters and MACs with the training branches folded. *Table 1*: the paper's "
    'parameters, averaged over its seven class counts, and its "FLOPs", which are MACs plus normalisation and pooling; '
    "its 253 for MobileNet is TinyNet's figure, its 2.82 for MobileViT leaves the transformer encoders out."
)


def docs_table() -> str:
    """Return the Markdown table of all packaged models that stands in docs/models.md between its markers."""
    lines = model_table.lines(models.MODELS, CLASSES, RESOLUTION, printed_costs())
    rows = [(f"`{line.spec.id}`", *model_table.numbers(line), model_table.design(line.spec)) for line in lines]
    rule = ("---", *("---:" for _ in NUMBERS), "---")
    table = ["| " + " | ".join(row) + " |" for row in (HEADINGS, rule, *rows)]
    return "\n".join([*table, "", NOTE])
