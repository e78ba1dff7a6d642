"""Which Backbone to Use as the command line and the report see it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mobilebench.scoring.low_data import LowData
from mobilebench.studies.study import PUBLISHED, CheckedClaims, PublishedStudy
from mobilebench.studies.which_backbone import audit
from mobilebench.studies.which_backbone import published as reference
from mobilebench.studies.which_backbone.claims import check_claims
from mobilebench.studies.which_backbone.context import load_context
from mobilebench.studies.which_backbone.facts import CAVEATS, TOO_HIGH, WEIGHTS_TOP1
from mobilebench.studies.which_backbone.sections import sections

if TYPE_CHECKING:
    from mobilebench.studies.study import AnchorsName
    from mobilebench.studies.which_backbone.context import Context


def low_data() -> LowData:
    """Return Tables 7 and 8, with the networks marked that its claims on little data are about."""
    shares: dict[str, dict[str, int]] = {}
    for column in reference.fractions():
        name = column.dataset if column.percent == 100 else f"{column.dataset}_p{column.percent}"
        shares.setdefault(column.dataset, {})[name] = column.train
    source = "Tables 7 and 8 as printed, best of three runs each"
    return LowData(reference.low_data(), shares, source, ("convnext_tiny", "efficientnet_v2_s", "swin_t", "swin_v2_t"))


def _check(source: str, lam: float, anchors: AnchorsName) -> CheckedClaims:
    context = load_context(source, lam=lam, anchors=anchors)
    return CheckedClaims(context.matrix, check_claims(context), _caveats(context) if source == PUBLISHED else {})


def _caveats(context: Context) -> dict[str, str]:
    """Return what is known of the numbers behind each claim, and the verdicts that other readings of them give."""
    doubted = {reference.split_fraction(dataset)[0] for _, dataset in audit.doubtful()}
    sound = [d for d in context.matrix.datasets if reference.split_fraction(d)[0] not in doubted]
    without = replace(context, matrix=context.matrix.select(datasets=sound))
    of_weights = replace(context, imagenet=WEIGHTS_TOP1)
    said = f"without {' and '.join(sorted(doubted))}, which have a cell that looks like a failed run: "
    more = {name: said + _one(without, name) for name in ("low_data", "low_data_loss", "stay_on_top", "medical")} | {
        "imagenet": "with the ImageNet accuracy of the weights that the code loads: " + _one(of_weights, "imagenet")
    }
    return {name: "; ".join(filter(None, (CAVEATS.get(name, ""), more.get(name, "")))) for name in CAVEATS | more}


def _one(context: Context, name: str) -> str:
    """Return a claim's verdict and the first sentence of its evidence."""
    (claim,) = check_claims(context, only=(name,))
    return f"{claim.verdict} ({(*claim.pro, *claim.contra, *claim.notes)[0]})"


STUDY = PublishedStudy(
    id="which_backbone",
    citation=reference.SOURCE,
    tables="Tables 1 to 8",
    matrix_name="Published Tables 4 to 6 and 8",
    matrix=reference.matrix,
    check_claims=_check,
    disagreements=audit.disagreements,
    audit_note=(
        "Every accuracy of the paper is the best of three runs, each chosen on the test images. The released code may "
        "differ from what was run for the tables."
    ),
    runs="best of three runs each, chosen on the test images",
    result_is="the best of three runs, chosen on the test images",
    caveats=(TOO_HIGH,),
    domains=reference.domains,
    imagenet=reference.imagenet_top1,
    low_data=low_data,
    audit_tables=audit.audit_tables,
    sections=sections,
    suite="which_backbone_v1",
)
