"""The paper's networks, against the integers of its released code and the classes of PyTorch and torchvision."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from mobilebench import models
from mobilebench.models.cost.counts import static_cost
from mobilebench.models.profile import against_printed, average_params
from mobilebench.models.zoo.mobilevit import EncoderLayer, MobileViT
from mobilebench.studies.beyond_imagenet import published as reference

Built = Callable[[str], nn.Module]

CLASSES = (7, 10, 67, 100, 120)

# what the released code's own constructors count, by class count
PARAMS = {
    ("convmixer", ("patch_size", 14)): (2530311, 2531850, 2561091, 2578020, 2588280),
    ("convmixer", ("patch_size", 5)): (2267655, 2269194, 2298435, 2315364, 2325624),
    ("convmixer", None): (2304519, 2306058, 2335299, 2352228, 2362488),
    ("convnext", None): (2622375, 2623914, 2653155, 2670084, 2680344),
    ("efficientnet", None): (2563871, 2566946, 2625371, 2659196, 2679696),
    ("efficientnet", ("variant", "b0")): (4016515, 4020358, 4093375, 4135648, 4161268),
    ("fbnet", None): (3601095, 3607050, 3720195, 3785700, 3825400),
    ("ghostnet", None): (2273435, 2277278, 2350295, 2392568, 2418188),
    ("mobilenet", None): (2232839, 2236682, 2309699, 2351972, 2377592),
    ("mobileone", None): (2154263, 2157338, 2215763, 2249588, 2270088),
    ("mobilevit", None): (4666023, 4667562, 4696803, 4713732, 4723992),
    ("shufflenet", None): (2156687, 2159762, 2218187, 2252012, 2272512),
    ("starnet", None): (2677519, 2678098, 2689099, 2695468, 2699328),
    ("tinynet", None): (2487139, 2490982, 2563999, 2606272, 2631892),
}

# convolutions and linear layers, millions at 224 px and 10 classes, by fvcore; MobileViT with its encoders (2065.19)
# and the 385.9 M of attention's products
MACS = {
    "convmixer": 2329.42,
    "convnext": 220.18,
    "efficientnet": 524.88,
    "fbnet": 383.00,
    "ghostnet": 289.29,
    "mobilenet": 299.51,
    "mobileone": 535.26,
    "mobilevit": 2065.19 + 385.9,
    "shufflenet": 319.64,
    "starnet": 421.69,
    "tinynet": 243.90,
}


@pytest.mark.parametrize(("model_id", "option"), PARAMS)
def test_parameters_are_those_of_the_released_code_to_the_integer(
    model_id: str, option: tuple[str, object] | None
) -> None:
    options = dict([option]) if option else {}
    with torch.device("meta"):
        counts = [sum(p.numel() for p in models.create(model_id, n, **options).parameters()) for n in CLASSES]
    assert tuple(counts) == PARAMS[model_id, option]


def test_every_paper_model_is_pinned() -> None:
    assert {model_id for model_id, _ in PARAMS} == set(MACS) == set(models.PAPER_MODELS)


@pytest.mark.parametrize("model_id", MACS)
def test_macs_are_those_of_an_independent_counter(built: Built, model_id: str) -> None:
    macs = static_cost(built(model_id), 224).macs / 1e6
    assert macs == pytest.approx(MACS[model_id], abs=0.06)


@pytest.mark.parametrize(("patch_size", "macs"), [(14, 640.16), (5, 4332.68)])
def test_the_other_patch_sizes_of_convmixer(patch_size: int, macs: float) -> None:
    with torch.device("meta"):
        model = models.create("convmixer", 10, patch_size=patch_size)
    assert static_cost(model, 224).macs / 1e6 == pytest.approx(macs, abs=0.01)


def test_table_1_agrees_but_for_the_two_rows_that_are_wrong_in_the_paper(built: Built) -> None:
    """Ours leave normalisation and pooling out, which the paper's counter adds: up to 8 % less."""
    off: dict[str, set[str]] = {}
    printed = reference.printed_costs()
    for published in reference.costs():
        cost = static_cost(built(published.model), 224)
        if abs(average_params(cost, 10, printed[published.model].class_counts) / published.params - 1) > 0.025:
            off.setdefault(published.model, set()).add("params")
        if not 0.92 < cost.macs / published.macs < 1:
            off.setdefault(published.model, set()).add("macs")
    assert off == {"mobilenet": {"macs"}, "mobilevit": {"params", "macs"}}


# parameters averaged over the class counts of the seven datasets, by the released code
AVERAGES = {"convnext": 2_649_124, "fbnet": 3_704_599, "mobilenet": 2_299_634, "starnet": 2_687_583}


@pytest.mark.parametrize("model_id", AVERAGES)
def test_the_difference_from_table_1_compares_averages_over_the_datasets(built: Built, model_id: str) -> None:
    cost = static_cost(built(model_id), 224)
    printed = reference.printed_costs()[model_id]
    found = against_printed(cost, 10, 224, printed)
    assert found.params_difference == AVERAGES[model_id] - printed.params
    assert found.macs_difference == cost.macs - printed.macs
    assert against_printed(cost, 10, 64, printed).macs_difference is None  # Table 1 counts at 224 px


def test_the_published_params_of_mobilevit_leave_its_encoders_out(built: Built) -> None:
    model = built("mobilevit")
    encoders = sum(p.numel() for m in model.modules() if isinstance(m, EncoderLayer) for p in m.parameters())
    assert encoders == 1_855_872
    published = {row.model: row.params for row in reference.costs()}["mobilevit"]
    assert sum(p.numel() for p in model.parameters()) - encoders == pytest.approx(published, rel=0.01)


def test_mobilevits_encoder_layer_is_pytorchs(random_images: torch.Tensor) -> None:
    ours, theirs = EncoderLayer(16), nn.TransformerEncoderLayer(16, 4, 32, 0.1, "gelu", batch_first=True)
    pairs = [
        (theirs.self_attn.in_proj_weight, ours.attention.qkv.weight),
        (theirs.self_attn.in_proj_bias, ours.attention.qkv.bias),
        *zip(theirs.self_attn.out_proj.parameters(), ours.attention.out.parameters(), strict=True),
        *zip(theirs.linear1.parameters(), ours.feed_forward[0].parameters(), strict=True),
        *zip(theirs.linear2.parameters(), ours.feed_forward[3].parameters(), strict=True),
        *zip(theirs.norm1.parameters(), ours.norm1.parameters(), strict=True),
        *zip(theirs.norm2.parameters(), ours.norm2.parameters(), strict=True),
    ]
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    for source, target in pairs:
        nn.init.normal_(source, std=0.3)
        target.data.copy_(source)
    tokens = torch.randn(2, 25, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours.eval()(tokens), theirs.eval()(tokens))
    for layer in (ours, theirs):  # in training too, dropout aside
        layer.train()
        for dropout in (m for m in layer.modules() if isinstance(m, nn.Dropout)):
            dropout.eval()
    theirs.self_attn.dropout = 0.0
    ours.attention.eval()
    torch.testing.assert_close(ours(tokens), theirs(tokens))


def test_mobilevits_attention_starts_like_pytorchs() -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(144, 4, batch_first=True)
    torch.manual_seed(0)
    ours = EncoderLayer(144).attention
    assert ours.qkv.weight.std().item() == pytest.approx(theirs.in_proj_weight.std().item(), rel=0.02)
    assert ours.out.weight.std().item() == pytest.approx(theirs.out_proj.weight.std().item(), rel=0.02)
    assert not ours.qkv.bias.any()
    assert not ours.out.bias.any()


def test_the_two_encoder_layers_of_a_block_start_as_copies_and_are_not_shared() -> None:
    block = next(m for m in MobileViT(10).modules() if hasattr(m, "encoders"))
    first, second = (list(layer.parameters()) for layer in block.encoders)
    assert all(torch.equal(a, b) and a is not b for a, b in zip(first, second, strict=True))


def test_shufflenet_is_torchvisions_without_its_shuffle(
    random_images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = torchvision.models.ShuffleNetV2([4, 8, 4], [64, 192, 360, 600, 1024], num_classes=10).eval()
    ours = models.create("shufflenet", 10).eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        shuffled = theirs(random_images)
        monkeypatch.setattr(torchvision.models.shufflenetv2, "channel_shuffle", lambda x, groups: x)
        torch.testing.assert_close(ours(random_images), theirs(random_images))
        assert not torch.allclose(ours(random_images), shuffled)


def test_tinynet_is_timms_a_at_half_depth(random_images: torch.Tensor) -> None:
    from timm.models.efficientnet import _gen_tinynet

    theirs, ours = _gen_tinynet("tinynet_a", 1.0, 0.5, num_classes=10).eval(), models.create("tinynet", 10).eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(random_images), theirs(random_images))


@pytest.mark.parametrize("model_id", ["convnext", "mobileone", "shufflenet", "ghostnet", "convmixer"])
def test_weights_start_as_pytorch_draws_them_where_the_released_code_sets_none(built: Built, model_id: str) -> None:
    """PyTorch's default is uniform within 1 / sqrt(fan in), for weights and biases."""
    for layer in (m for m in built(model_id).modules() if isinstance(m, nn.Conv2d | nn.Linear)):
        bound = layer.weight[0].numel() ** -0.5
        assert layer.weight.abs().max() <= bound * 1.0001
        if layer.weight.numel() > 1000:
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        if layer.bias is not None:
            assert layer.bias.abs().max() <= bound * 1.0001


def test_ghostnet_has_no_dropout_as_in_the_released_code(built: Built) -> None:
    assert built("ghostnet").drop_rate == 0
