"""What is tried of the protocol's settings: the points of a probe, and those of a cell that is tuned.

The whole list is drawn up before the first trial, so that neither a kill nor the number of workers changes what is
tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from mobilebench.config.parsing import ConfigError, digest
from mobilebench.config.protocol import with_settings
from mobilebench.config.tuning import Range
from mobilebench.errors import UserError
from mobilebench.system.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.sensitivity import Name, SensitivitySettings, Value
    from mobilebench.config.tuning import Tuning

FACTORS = (1 / 10, 1 / 3, 1.0, 3.0, 10.0)


class SpaceError(UserError):
    """A setting is unknown, or a value of it is not one the protocol allows."""


@dataclass(frozen=True)
class Setting:
    """One setting of the recipe.

    path: its dotted key in the protocol. scale: how it is spread out and plotted. around: the default values for a
    recipe, its own not among them perhaps. whole: whether it is a whole number.
    """

    name: str
    path: str
    scale: Literal["log", "linear", "choice"]
    around: Callable[[Recipe], Sequence[Value]]
    whole: bool = False

    def of(self, recipe: Recipe) -> Value:
        """Return the recipe's own value."""
        found: object = recipe
        for part in self.path.split("."):
            found = getattr(found, part)
        return found  # type: ignore[return-value]

    def coordinate(self, value: Value, values: Sequence[Value]) -> float:
        """Return where a value lies on an axis: its logarithm to base 10, itself, or its place among the choices.

        On a logarithmic axis 0 lies one power of ten below the smallest positive value.
        """
        if self.scale == "choice":
            return float(list(values).index(value))
        if self.scale == "linear":
            return float(value)
        positive = _positive(values) or [1.0]
        return math.log10(float(value) or positive[0] / 10)

    def at(self, u: float, values: Sequence[Value]) -> Value:
        """Return the value at u in [0, 1) of the way between the smallest and the largest (positive) one."""
        if self.scale == "choice":
            return list(values)[int(u * len(values))]
        if self.scale == "log":
            low, high = _positive(values)[0], _positive(values)[-1]
            found = low * (high / low) ** u
        else:
            low, high = float(min(values)), float(max(values))
            if self.whole:
                return int(low + u * (high - low + 1))
            found = low + u * (high - low)
        return round(found) if self.whole else _short(found)


def _positive(values: Sequence[Value]) -> list[float]:
    return sorted(float(value) for value in values if float(value) > 0)


def _short(value: float) -> float:
    """Round to six digits, so that a value reads well and has one spelling."""
    return float(f"{value:.6g}")


def _warmups(recipe: Recipe) -> list[Value]:
    own = recipe.warmup_epochs
    steps = [own, 2 * own, 4 * own] if own else [math.ceil(recipe.epochs / n) for n in (20, 10, 5)]
    return [0, *(n for n in steps if n < recipe.epochs)]


def _batches(recipe: Recipe) -> list[Value]:
    return [max(2, int(recipe.batch_size * factor)) for factor in (0.25, 0.5, 2, 4)]


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("lr", "lr", "log", lambda r: [_short(r.lr * f) for f in FACTORS]),
        Setting("warmup", "warmup_epochs", "linear", _warmups, whole=True),
        Setting("batch", "batch_size", "log", _batches, whole=True),
        Setting("label_smoothing", "label_smoothing", "linear", lambda _: [0.0, 0.05, 0.1, 0.2]),
        Setting("cutmix", "augment.cutmix_prob", "linear", lambda _: [0.0, 0.5, 1.0]),
        Setting("weight_decay", "weight_decay", "log", lambda _: [0.0, 1e-5, 1e-4, 1e-3]),
        Setting("precision", "precision", "choice", lambda _: ["fp32", "bf16"]),
    )
}


@dataclass(frozen=True)
class Point:
    """One combination of settings to train with: `values` has every setting of SETTINGS, changed or not.

    source: `grid` when at most one setting differs from the protocol's, `sample` when drawn over all probed ones.
    """

    values: dict[str, Value]
    source: Literal["grid", "sample"]

    @property
    def key(self) -> str:
        """Twelve hex digits that name the combination."""
        return digest(self.values)


def known(name: str) -> Name:
    """Return the name of a setting. Raises SpaceError, with a near match, for one that cannot be probed."""
    if name not in SETTINGS:
        hint = did_you_mean(name, SETTINGS, 1)
        raise SpaceError(
            f"there is no setting {name!r} to probe{f'; {hint}' if hint else '.'} Settings: {', '.join(SETTINGS)}"
        )
    return cast("Name", name)


def protocol_values(recipe: Recipe) -> dict[str, Value]:
    """Return the recipe's own value of every setting."""
    return {name: setting.of(recipe) for name, setting in SETTINGS.items()}


def apply(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    """Return the recipe with these settings. Raises SpaceError, naming setting and value, when it allows them not.

    min_lr, the end of the schedule that lr is the top of, moves with lr by the same factor: what is probed is the
    schedule's height. (Else a tenth of lr would lie below many protocols' min_lr.)
    """
    changed = {name: value for name, value in values.items() if value != SETTINGS[name].of(recipe)}
    words = ", ".join(f"{name}={value}" for name, value in changed.items())
    top = {SETTINGS[n].path: v for n, v in changed.items() if "." not in SETTINGS[n].path}
    nested = {SETTINGS[n].path.split(".")[1]: v for n, v in changed.items() if "." in SETTINGS[n].path}
    if "lr" in top:
        top["min_lr"] = _moved_min_lr(recipe, float(top["lr"]))
    try:
        return replace(recipe, **top, augment=replace(recipe.augment, **nested))  # type: ignore[arg-type]
    except ValueError as error:
        raise SpaceError(f"{words} is outside what the protocol allows: {error}") from None


def _moved_min_lr(recipe: Recipe, lr: float) -> float:
    """Return the end of a schedule whose top is `lr` instead of the recipe's own."""
    return min(lr, recipe.min_lr * (lr / recipe.lr))  # a product of floats may end above lr where both are equal


def values_of(recipe: Recipe, name: str, own: Sequence[Value] | None = None) -> list[Value]:
    """Return the values of one setting that are tried, ascending: `own` or the default ones, and the recipe's.

    Raises SpaceError for a value of the wrong kind or one that the recipe does not allow.
    """
    setting = SETTINGS[name]
    if name == "cutmix" and recipe.augment.cutmix_alpha == 0:
        raise SpaceError("cutmix cannot be probed: the protocol switches it off by augment.cutmix_alpha 0")
    tried = [_typed(setting, value) for value in (setting.around(recipe) if own is None else own)]
    found = list(dict.fromkeys([*tried, setting.of(recipe)]))
    for value in found:
        apply(recipe, {name: value})
    if len(found) < 2:
        raise SpaceError(f"{name} has only the protocol's value {found[0]} to try; give others")
    return found if setting.scale == "choice" else sorted(found, key=float)


def _typed(setting: Setting, value: Value) -> Value:
    if setting.scale == "choice":
        choices = ("fp32", "bf16")
        if value not in choices:
            raise SpaceError(f"{setting.name}={value} is none of {', '.join(choices)}")
        return value
    try:
        number = float(value)
    except ValueError:
        raise SpaceError(f"{setting.name}={value} is not a number") from None
    if not math.isfinite(number) or (setting.whole and number != int(number)):
        raise SpaceError(f"{setting.name}={value} is not a {'whole' if setting.whole else 'finite'} number")
    return int(number) if setting.whole else number


def plan(recipe: Recipe, settings: SensitivitySettings) -> list[Point]:
    """Return every point to try, each once: the protocol's own, one setting changed at a time, then the samples.

    The samples are a scrambled Sobol sequence (Joe and Kuo's directions, as in `scipy.stats.qmc`) over the ranges of
    the probed settings, the others at the protocol's values. Raises SpaceError.
    """
    tried = {name: values_of(recipe, name, settings.values.get(name)) for name in settings.space}
    own = protocol_values(recipe)
    points = [Point(own, "grid")]
    points += [Point(own | {name: value}, "grid") for name, values in tried.items() for value in values]
    points += [Point(own | values, "sample") for values in _samples(tried, settings.sample_count)]
    for point in points:
        apply(recipe, point.values)
    unique: dict[str, Point] = {}
    for point in points:
        unique.setdefault(point.key, point)
    return list(unique.values())


def _samples(tried: Mapping[Name, Sequence[Value]], count: int) -> list[dict[str, Value]]:
    return [
        {name: SETTINGS[name].at(u, values) for u, (name, values) in zip(row, tried.items(), strict=True)}
        for row in _sobol(len(tried), count, 0)
    ]


def _sobol(settings: int, count: int, seed: int) -> list[list[float]]:
    """Return so many points of a scrambled Sobol sequence, each coordinate in [0, 1)."""
    if not count:
        return []
    from scipy.stats import qmc

    exponent = math.ceil(math.log2(count))  # the sequence is even at powers of two; a shorter part of it still is good
    cube: list[list[float]] = qmc.Sobol(settings, rng=seed).random_base2(exponent)[:count].tolist()
    return cube


def parse_space(text: str) -> tuple[tuple[Name, ...], dict[Name, tuple[Value, ...]]]:
    """Return the settings and their own values of `lr,warmup` or `lr=0.0001:0.001,batch`. Raises SpaceError."""
    names: list[Name] = []
    values: dict[Name, tuple[Value, ...]] = {}
    for item in text.split(","):
        name, equals, listed = (part.strip() for part in item.partition("="))
        names.append(known(name))
        if equals:
            values[names[-1]] = tuple(part.strip() for part in listed.split(":"))
    return tuple(names), values


@dataclass(frozen=True)
class Trial:
    """One setting that a tuned cell tries."""

    number: int
    """Its place in the list, from 1."""
    values: dict[str, Any]
    """What is tried, by keys of the protocol."""
    recipe: Recipe
    """What it is trained with; nothing is tuned in it any more."""


def trials_of(recipe: Recipe, seed: int) -> list[Trial]:
    """Return the trials of a cell with this recipe and seed; none where it is not tuned.

    Lists are a full grid. Where there is a range, the samples are a scrambled Sobol sequence that the cell's seed
    scrambles, so that all networks try the same settings. They do not follow what others gave: with several workers
    that would depend on which trial ends first. Raises SpaceError for a value that the protocol does not allow.
    """
    tuning = recipe.tuning
    if tuning is None:
        return []
    points = tuning.grid() if tuning.is_grid else _sampled(tuning, recipe, seed)
    return [Trial(number, values, _tried(recipe, values)) for number, values in enumerate(points, start=1)]


def _tried(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a trial. With lr, min_lr moves as in `apply`, unless it is given itself."""
    changes: dict[str, Any] = {"tuning": None}
    for key, value in values.items():
        place, own = changes, cast("Any", recipe)
        *above, last = key.split(".")
        for part in above:
            place, own = place.setdefault(part, {}), getattr(own, part, None)
        if not is_dataclass(own):
            raise SpaceError(f"protocol.tuning.space has {key}, and the recipe has no {'.'.join(above)} to set it in")
        place[last] = value
    lr = values.get("lr")
    if "min_lr" not in values and isinstance(lr, int | float) and lr > 0:
        changes["min_lr"] = _moved_min_lr(recipe, lr)
    try:
        return with_settings(recipe, changes)
    except ConfigError as error:
        words = ", ".join(f"{key}={value}" for key, value in values.items())
        raise SpaceError(f"protocol.tuning.space: {words} is not allowed: {error}") from None


def _sampled(tuning: Tuning, recipe: Recipe, seed: int) -> list[dict[str, Any]]:
    """Return `trials` samples of a space, each once."""
    axes = {name: _axis(name, tuning.space[name], recipe) for name in sorted(tuning.space)}
    found: dict[str, dict[str, Any]] = {}
    for row in _sobol(len(axes), 8 * tuning.count, seed):  # settings of few values are drawn more than once
        values = {name: axis.at(u, ends) for u, (name, (axis, ends)) in zip(row, axes.items(), strict=True)}
        found.setdefault(digest(values), values)
        if len(found) == tuning.count:
            return list(found.values())
    raise SpaceError(
        f"protocol.tuning: {tuning.count} trials of a space with {len(found)} different settings; give it fewer "
        "trials, or lists alone, which are a grid"
    )


def _axis(name: str, values: tuple[Any, ...] | Range, recipe: Recipe) -> tuple[Setting, Sequence[Any]]:
    """Return how a setting's values are spread out, and the values or the two ends of its range."""
    if not isinstance(values, Range):
        return Setting(name, name, "choice", lambda _: values), values
    own: object = recipe
    for part in name.split("."):
        own = getattr(own, part, None)
    whole = isinstance(own, int) and not isinstance(own, bool)
    ends: list[Any] = [values.low, values.high]
    if isinstance(own, str | bool) or (whole and any(end != int(end) for end in ends)):
        raise SpaceError(
            f"protocol.tuning.space.{name} is a range from {values.low:g} to {values.high:g}, and the setting is "
            f"{'a whole number; give whole ends' if whole else 'no number; give a list'}"
        )
    return Setting(name, name, "log" if values.log else "linear", lambda _: ends, whole), ends
