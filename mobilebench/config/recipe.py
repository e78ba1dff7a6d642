"""Every setting that gives one cell's accuracy its meaning, as plain frozen dataclasses.

They use the standard library only, so that the loop and the benchmarks run on a bare
GPU machine. `config.protocol` reads them strictly (no unknown keys, no wrong types) from `params.yaml`; the range
checks are here, because a recipe made in Python must be as sound as one read from a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

from mobilebench.config.checks import STRICT, require, require_numbers
from mobilebench.config.phases import FLAT, Optimizer, Phase
from mobilebench.config.pixels import Resolution, sides
from mobilebench.config.pretrained import FirstEpochs, FromPretrained, Neighbours, Pretrained
from mobilebench.config.tuning import Tuning  # noqa: TC001 - pydantic needs the name at run time
from mobilebench.evaluation.selection import BestVal

Scalar = int | float | str | bool
Fit = Literal["centre", "warp", "pad"]


@dataclass(frozen=True)
class DataPolicy:
    """How a dataset is split and stored before training; what `prepare` depends on."""

    short_side: int = 256
    """Pixels of the stored squares' side, or less: so many that half of the dataset's images need not be enlarged.

    That is the dataset's median shorter side; its median longer side where `fit` is pad. With `aspect` it is the
    shorter side of the stored rectangle.
    """
    split_seed: int = 42
    """Seed of splits that no official list fixes."""
    val_fraction: float = 0.0
    """Share of the training part cut out as the validation part, in [0, 1).

    Its images are read beside those of test, and an epoch may be chosen on them (`selection`); none is trained on.
    """
    fit: Fit = field(default="centre", metadata={"since": 2})
    """How an image that is no square becomes one.

    centre: the central square; the ends of the longer side are lost (a quarter of a 4:3 photo). warp: the whole image,
    its longer side squeezed. pad: the whole image in its own shape, between two bars of ImageNet's mean colour
    (124, 116, 104), which `normalize: imagenet` takes to about 0; bars count in the dataset's mean and std. Sets that
    come as arrays of squares (cifar10, digits ...) are stored as they are.
    On ham10k warp minus centre was +0.05 points of test top-1, 95 % interval -0.70 to +0.80 (n = 4 pairs, 64 px, 5
    epochs; benchmarks/RESULTS.md).
    """
    aspect: tuple[int, int] = field(default=(1, 1), metadata={"since": 4})
    """Shape of the stored images, height to width: [2, 3] stores rectangles half as wide again as high.

    `fit` then says how an image becomes that rectangle. Sets that come as arrays are stored as they are.
    """
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    def __post_init__(self) -> None:
        require_numbers(self, "data.")
        require(self.short_side >= 8, "data.short_side", self.short_side, "8 or more pixels")
        require(self.split_seed >= 0, "data.split_seed", self.split_seed, "0 or more")
        require(self.fit in get_args(Fit), "data.fit", self.fit, ", ".join(get_args(Fit)))
        require(0 <= self.val_fraction < 1, "data.val_fraction", self.val_fraction, "0 <= fraction < 1")
        low, high = min(self.aspect), max(self.aspect)
        require(low > 0 and high <= 8 * low, "data.aspect", self.aspect, "[height, width], at most 8 to 1")

    def stored(self, short_side: int) -> tuple[int, int]:
        """Return height and width of a stored image whose shorter side has so many pixels."""
        low = min(self.aspect)
        height, width = (round(short_side * length / low) for length in self.aspect)
        return height, width


@dataclass(frozen=True)
class Augment:
    """Training-time augmentation, each image drawing its own parameters."""

    crop_scale: tuple[float, float] | None = (0.9, 1.0)
    """Area fraction of the random resized crop, as in torchvision's RandomResizedCrop; null takes the whole image."""
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    """Aspect ratio of the random resized crop, width over height; where `resolution` is a rectangle, in units of its
    own, so that 1 distorts nothing."""
    hflip: float = 0.5
    """Probability of a mirror image."""
    color_jitter: tuple[float, float, float, float] = (0.2, 0.3, 0.3, 0.2)
    """Brightness, contrast, saturation, hue as in torchvision's ColorJitter, in random order."""
    randaugment: tuple[int, int] | None = None
    """(operations, magnitude of 30), or null for none."""
    trivialaugment: bool = False
    """Whether TrivialAugment is used; not together with randaugment."""
    random_erasing: float = 0.0
    """Probability of an erased box."""
    cutmix_alpha: float = 1.0
    """Beta(alpha, alpha) of the area CutMix pastes; 0 switches it off."""
    cutmix_prob: float = 1.0
    """Share of batches with CutMix."""
    cutmix_box: Literal["image", "batch"] = "image"
    """One box per image or one per batch."""
    cutmix_weight: Literal["area", "drawn"] = "area"
    """Labels weighted by the area really kept, or by the area drawn before the box was clipped at the border."""
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    def __post_init__(self) -> None:
        require_numbers(self, "augment.")
        for key in ("hflip", "random_erasing", "cutmix_prob"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"augment.{key}", value, "a probability in [0, 1]")
        if self.crop_scale is not None:
            low, high = self.crop_scale
            require(0 < low <= high, "augment.crop_scale", self.crop_scale, "null or [low, high] with 0 < low <= high")
        low, high = self.crop_ratio
        require(0 < low <= high, "augment.crop_ratio", self.crop_ratio, "[low, high] with 0 < low <= high")
        require(
            min(self.color_jitter) >= 0 and self.color_jitter[3] <= 0.5,
            "augment.color_jitter",
            self.color_jitter,
            "[brightness, contrast, saturation, hue], none negative, hue at most 0.5",
        )
        require(self.cutmix_alpha >= 0, "augment.cutmix_alpha", self.cutmix_alpha, "0 (off) or more")
        if self.randaugment is not None:
            ops, magnitude = self.randaugment
            require(
                ops >= 1 and 0 <= magnitude <= 30,
                "augment.randaugment",
                self.randaugment,
                "null or [operations >= 1, magnitude 0..30]",
            )
        require(
            self.randaugment is None or not self.trivialaugment,
            "augment.trivialaugment",
            self.trivialaugment,
            "false when randaugment is set: one policy at a time",
        )


@dataclass(frozen=True)
class OnVal:
    """A choice of the epoch that is made on validation images."""

    best_val: BestVal = field(default_factory=BestVal)
    """How the best epoch is told."""
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT


@dataclass(frozen=True)
class OnTest:
    """A choice of the epoch that is made on the test images, as some published code does.

    What is then read on these images is the best of many readings of them: too high, and every table says so.
    """

    best_test: BestVal = field(default_factory=BestVal)
    """How the best epoch is told."""
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT


@dataclass(frozen=True)
class Recipe:
    """How one network is trained and read on one dataset.

    Raises ValueError, naming the key and what is allowed, for values that cannot be trained.
    """

    epochs: int = 100
    """Passes over the train split."""
    warmup_epochs: int = 5
    """Epochs of linear warm-up; then a cosine falls to min_lr at the last epoch, constant within an epoch.

    The last warm-up epoch has the full rate: a warm-up of one epoch warms nothing up.
    """
    batch_size: int = 32
    """Images per training step."""
    drop_last: bool = False
    """Whether a smaller last batch is left out."""
    resolution: Resolution = 224
    """Pixels along each side of the images the network gets, or [height, width].

    Where the stored images (`data.aspect`) are of another shape, their centre is read.
    """
    eval_resize: int | Literal["weights"] | None = None
    """Pixels to which a stored image is resized before its centre crop of `resolution` is read at evaluation.

    Null means `resolution` itself, i.e. the whole image. Of rectangles it is the shorter side. weights: so many that
    the crop has the share of the image that it had where the network was pretrained, as its source says.
    """
    optimizer: Optimizer = "adam"
    """The optimiser, with torch's defaults; SGD with momentum 0.9."""
    lr: float = 1e-3
    """Learning rate after the warm-up, per step of the optimiser; without effect where there is one epoch."""
    min_lr: float = 1e-5
    """Learning rate of the last epoch, which of one epoch is the only one."""
    weight_decay: float = 0.0
    """The optimiser's weight decay: an L2 term for adam and sgd, decoupled for adamw.

    It is for every parameter, those of normalisation layers and biases too, as torch's optimisers have it by default;
    see `decay_norms`.
    """
    decay_norms: bool = field(default=True, metadata={"since": 3})
    """Whether weight decay is for normalisation layers and biases too.

    False leaves out what timm leaves out: parameters of one dimension, biases, and those that the network itself names
    (position embeddings, say).
    """
    phases: tuple[Phase, ...] = field(default=(), metadata={"since": 3})
    """Several phases of training, each with its own optimiser, in place of epochs, warmup_epochs, optimizer, lr, min_lr
    and weight_decay, which are then left out.

    [{optimizer: adamw, lr: 0.001, epochs: 100, patience: 10}, {optimizer: sgd, lr: 0.001, epochs: 100, patience: 10,
    start: best}] trains by AdamW until the val images no longer get better, and from the best epoch by SGD.
    """
    label_smoothing: float = 0.05
    """Share of the target spread evenly over the classes, in [0, 1)."""
    augment: Augment = field(default_factory=Augment)
    """Training-time augmentation."""
    normalize: Literal["dataset", "imagenet", "half", "weights"] = "imagenet"
    """Whose mean and standard deviation images are normalised with: the train split's, ImageNet's, 0.5, or `weights`.

    weights: those that the network was pretrained with, as its source says.
    """
    precision: Literal["fp32", "bf16"] = "fp32"
    """fp32, or bf16 under autocast."""
    init: Literal["scratch"] | FromPretrained = "scratch"
    """Where the weights start: drawn from the seed, or pretrained.

    {pretrained: {freeze: none, head_lr: null, layer_decay: 1.0}} starts from the weights in the network's name, see
    [Fine-tune pretrained networks](transfer.md).
    """
    selection: Literal["last_epoch"] | OnVal | OnTest = "last_epoch"
    """Which epoch's weights are kept and read on test: the last, or the best on the val split.

    {best_val: {metric: top1, patience: 0, min_epochs: 1}} needs `data.val_fraction` or a dataset with a val split.
    {best_test: {...}} chooses on the test images themselves, to follow published code that does; such results are too
    high, and are marked wherever they are shown.
    """
    network: str | None = field(default=None, metadata={"since": 3})
    """The network's id, where the name in `models` is one of your own; null where it is the id.

    So one network can stand in a suite several times, each time with other settings (`overrides`).
    """
    model_options: dict[str, Scalar] = field(default_factory=dict)
    """Options given to the network's builder."""
    data: DataPolicy = field(default_factory=DataPolicy)
    """How the dataset is split and stored."""
    tuning: Tuning | None = field(default=None, metadata={"since": 3})
    """Settings that are chosen anew for each cell on its validation images, null for none.

    {space: {lr: [0.001, 0.0001], weight_decay: [0, 0.01]}} trains four trials a cell, see
    [Tune each cell](transfer.md#tune-each-cell).
    """
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    def __post_init__(self) -> None:
        require_numbers(self)
        require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        self._check_phases()
        require(
            0 <= self.warmup_epochs < self.epochs,
            "warmup_epochs",
            self.warmup_epochs,
            f"0 or more and fewer than epochs ({self.epochs})",
        )
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more (batch norm needs two images)")
        short = min(sides(self.resolution))
        require(short >= 8, "resolution", self.resolution, "8 or more pixels, or [height, width]")
        require(
            self.eval_resize is None or self.eval_resize == "weights" or self.eval_resize >= short,
            "eval_resize",
            self.eval_resize,
            f"null, weights or at least resolution ({short})",
        )
        rule = self.best_val
        require(
            rule is None or rule.min_epochs <= self.total_epochs,
            "selection.best_val.min_epochs",
            rule and rule.min_epochs,
            f"at most epochs ({self.total_epochs})",
        )
        on_val = "not best_test: settings are chosen on val, never on test"
        require(self.tuning is None or not self.chooses_on_test, "selection with tuning", self.selection, on_val)
        start = self.pretrained
        frozen = start.freeze.epochs if start and isinstance(start.freeze, FirstEpochs) else 0
        require(
            frozen < self.total_epochs,
            "init.pretrained.freeze.epochs",
            frozen,
            f"fewer than epochs ({self.total_epochs}); all_but_head freezes to the end",
        )
        once = "1 with init.pretrained.knn: the train images are looked at once"
        require(self.knn is None or self.total_epochs == 1, "epochs", self.total_epochs, once)
        require(
            start is not None or self.normalize != "weights",
            "normalize",
            self.normalize,
            "dataset, imagenet or half with init scratch: there are no weights that say how",
        )
        require(
            start is not None or self.eval_resize != "weights",
            "eval_resize",
            self.eval_resize,
            "null or a number of pixels with init scratch: there are no weights that say how",
        )
        require(self.lr > 0, "lr", self.lr, "more than 0")
        require(0 <= self.min_lr <= self.lr, "min_lr", self.min_lr, f"0 or more and at most lr ({self.lr})")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "0 <= value < 1")

    def _check_phases(self) -> None:
        if not self.phases:
            return
        given = [f.name for f in fields(Recipe) if f.name in FLAT and getattr(self, f.name) != f.default]
        require(
            not given,
            ", ".join(given),
            [getattr(self, name) for name in given],
            f"nothing beside phases, which say it themselves: leave out {', '.join(FLAT)}",
        )
        for number, phase in enumerate(self.phases):
            require_numbers(phase, f"phases[{number}].")
            if problem := phase.problem():
                raise ValueError(f"phases[{number}].{problem}")
            on_val = [key for key in ("patience", "start") if getattr(phase, key) not in {0, "last"}]
            require(
                self.best_val is not None or not on_val,
                f"phases[{number}].{', '.join(on_val)}",
                [getattr(phase, key) for key in on_val],
                "0 and last with selection last_epoch; what tells epochs is selection: {best_val: {metric: top1}}",
            )
        require(self.phases[0].start == "last", "phases[0].start", "best", "last: no epoch comes before it")
        rule, start = self.best_val, self.pretrained
        patience = rule.patience if rule else 0
        require(patience == 0, "selection.best_val.patience", patience, "0 beside phases, which have their own")
        head_lr = start.head_lr if start else None
        require(head_lr is None, "init.pretrained.head_lr", head_lr, "null beside phases: each has one lr")

    @property
    def plan(self) -> tuple[Phase, ...]:
        """The phases of training: those of `phases`, or the one that the recipe's own keys say."""
        if self.phases:
            return self.phases
        patience = self.best_val.patience if self.best_val else 0
        return (
            Phase(
                self.epochs, self.lr, self.optimizer, 0.9, self.weight_decay, "cosine", self.min_lr, self.warmup_epochs,
                patience,
            ),
        )  # fmt: skip

    @property
    def total_epochs(self) -> int:
        """The most epochs that training has: all phases to their ends."""
        return sum(phase.epochs for phase in self.plan)

    def network_of(self, model: str) -> str:
        """Return the id of the network that a name in `models` stands for, as `mobilebench.models.get` takes it."""
        return self.network or model

    @property
    def pretrained(self) -> Pretrained | None:
        """How the network learns from pretrained weights, None where it starts from scratch."""
        return self.init.pretrained if isinstance(self.init, FromPretrained) else None

    @property
    def knn(self) -> Neighbours | None:
        """The rule of a classifier by nearest neighbours, None where the network is trained."""
        return self.pretrained.knn if self.pretrained else None

    @property
    def best_val(self) -> BestVal | None:
        """The rule by which an epoch is chosen on val (or test), None where the last is kept."""
        if isinstance(self.selection, OnTest):
            return self.selection.best_test
        return self.selection.best_val if isinstance(self.selection, OnVal) else None

    @property
    def chooses_on_test(self) -> bool:
        """Whether the epoch is chosen on the test images: these then stand in for the val split."""
        return isinstance(self.selection, OnTest)

    @property
    def chooses_on_val(self) -> bool:
        """Whether an epoch or settings are chosen on val, or on what stands in for it."""
        return self.best_val is not None or self.tuning is not None
