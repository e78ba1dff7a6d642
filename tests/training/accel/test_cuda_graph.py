"""Captured steps without a card: a graph that records a function and replays it. test_gpu.py has the real ones."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from loops import CPU, RECIPE, make_data, make_net, train
from torch import Tensor

from mobilebench.training import Trainer, TrainingError, loop
from mobilebench.training.accel import cuda_graph, step_runner
from mobilebench.training.accel.cuda_graph import CaptureError, GraphedStep, on_stream
from mobilebench.training.batches import Batch
from mobilebench.training.image_store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime
    from mobilebench.training import TrainData
    from mobilebench.training.accel.plan import AccelerationPlan

CARD = torch.device("cuda:0")


class Graph:
    """A graph that replays the function it was given while it was captured; empty without one."""

    capturing: Graph | None = None

    def __init__(self) -> None:
        self.replay: Callable[[], object] = lambda: None


class Driver:
    """What of torch.cuda a capture uses; what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.renewed = 0
        self.fails: BaseException | None = None
        self.empty = False

    @contextlib.contextmanager
    def graph(self, graph: Graph, **options: Any) -> Iterator[None]:
        self.asked.append(options)
        Graph.capturing = graph
        try:
            yield
        finally:
            Graph.capturing = None
            if self.empty:
                graph.replay = lambda: None
            if self.fails is not None:
                raise self.fails

    def renew(self, device: torch.device) -> None:
        assert device == CARD
        assert Graph.capturing is None
        self.renewed += 1


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    for name, value in {"graph": made.graph, "CUDAGraph": Graph, "graph_pool_handle": object}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(cuda_graph, "_renew_generator", made.renew)
    return made


class Step:
    """Sums a batch's images, and counts by batch size how often it was carried out."""

    def __init__(self) -> None:
        self.done: list[tuple[int, float]] = []
        self.eager = 0

    def __call__(self, batch: Batch) -> Tensor:
        loss = torch.zeros(())

        def compute() -> None:
            loss.copy_(batch.images.sum() + batch.first.sum() + 10 * batch.second.sum() + batch.kept.sum())
            self.done.append((len(batch.first), float(loss)))

        if Graph.capturing is None:
            self.eager += 1
            compute()
        else:
            Graph.capturing.replay = compute
        return loss


def batches(*sizes: int) -> list[tuple[Batch, float]]:
    """Batches of these sizes, each with other values, and what the step makes of them."""
    made = []
    for number, size in enumerate(sizes, start=1):
        ones = torch.ones(size)
        batch = Batch(number * ones[:, None], ones.long(), number * ones.long(), ones)
        made.append((batch, float(size * (number + 1 + 10 * number + 1))))
    return made


def graphed() -> GraphedStep:
    return GraphedStep(CARD, "the stream")  # type: ignore[arg-type]


def test_every_step_is_carried_out_once_and_sizes_have_their_graphs(driver: Driver) -> None:
    step, graph = Step(), graphed()
    given = batches(*[4, 4, 4, 4, 4, 4, 2, 4, 2, 2])
    losses = [float(graph(step, batch)) for batch, _ in given]
    assert losses == [expected for _, expected in given]
    assert step.done == [(len(batch.first), expected) for batch, expected in given]
    assert step.eager == 5  # four of the first size, one of the other
    assert graph.sizes == [2, 4]
    assert [asked["capture_error_mode"] for asked in driver.asked] == ["thread_local"] * 2
    assert {asked["stream"] for asked in driver.asked} == {"the stream"}
    assert len({id(asked["pool"]) for asked in driver.asked}) == 1
    assert driver.renewed == 0


def test_epochs_of_few_batches_are_captured_in_the_end(driver: Driver) -> None:
    step, graph = Step(), graphed()
    for batch, _ in batches(*[4, 4, 2] * 3):
        graph(step, batch)
    assert graph.sizes == [2, 4]
    assert step.eager == 4 + 2


def used(graph: GraphedStep) -> GraphedStep:
    for batch, _ in batches(*[4] * 4):
        graph(Step(), batch)
    return graph


def test_a_capture_that_fails_leaves_a_fresh_random_state(driver: Driver) -> None:
    graph = used(graphed())
    driver.fails = RuntimeError("operation not permitted when stream is capturing\nlong")
    with pytest.raises(CaptureError, match=r"^operation not permitted when stream is capturing$"):
        graph(Step(), batches(4)[0][0])
    assert driver.renewed == 1
    assert graph.sizes == []


@pytest.mark.parametrize("ended_badly", [True, False])
def test_a_device_that_is_full_in_a_capture_is_full(driver: Driver, ended_badly: bool) -> None:
    graph = used(graphed())
    driver.fails = RuntimeError("operation failed due to a previous error during capture") if ended_badly else None

    def full(batch: Batch) -> Tensor:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(RuntimeError) as caught:
        graph(full, batches(4)[0][0])
    assert step_runner.is_out_of_memory(caught.value)
    assert driver.renewed == 1


def test_a_graph_that_computes_nothing_is_no_capture(driver: Driver) -> None:
    graph = used(graphed())
    driver.empty = True
    with pytest.raises(CaptureError, match="gives no loss"):
        graph(Step(), batches(4)[0][0])
    assert graph.sizes == []


class Scripted:
    """A graphed step that runs eagerly, but for calls that raise what the script has for them."""

    script: dict[int, Exception]
    calls: int
    made: int

    def __init__(self, *_: object) -> None:
        type(self).made += 1

    def __call__(self, step: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        type(self).calls += 1
        if error := self.script.pop(self.calls, None):
            step(batch)
            raise error
        return step(batch)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    """Trainers on the CPU whose runner believes in a graph."""
    plan = loop.make_plan

    def make_plan(recipe: Recipe, runtime: Runtime, device: torch.device, steps: int) -> AccelerationPlan:
        return replace(plan(recipe, runtime, device, steps), graph=runtime.acceleration != "off")

    monkeypatch.setattr(loop, "make_plan", make_plan)
    monkeypatch.setattr(step_runner, "_stream", lambda _: "the stream")
    monkeypatch.setattr(step_runner, "on_stream", lambda _: contextlib.nullcontext())
    made = type("Scripted", (Scripted,), {"script": {}, "calls": 0, "made": 0})
    monkeypatch.setattr(step_runner, "GraphedStep", made)
    return made


@pytest.fixture
def data() -> TrainData:
    return make_data(50)


def curve(trainer: Trainer) -> list[tuple[float, float]]:
    return [(r.train_loss, r.test["loss"]) for r in trainer.epochs()]


def test_a_step_that_cannot_be_captured_starts_the_epoch_again_eagerly(
    data: TrainData, scripted: type[Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    eager = curve(Trainer(make_net(), data, RECIPE, 0, replace(CPU, acceleration="off")))
    scripted.script = {7: CaptureError("no capture of .item()")}
    trainer = Trainer(make_net(), data, RECIPE, 0, CPU)
    assert curve(trainer) == eager
    said = "step eager: the CUDA graph could not be captured: no capture of .item()"
    assert said in trainer.decisions
    assert said in caplog.text
    assert scripted.calls == 7


def test_a_full_device_has_images_moved_then_the_graph_given_up(data: TrainData, scripted: type[Scripted]) -> None:
    eager = curve(Trainer(make_net(), data, RECIPE, 0, replace(CPU, acceleration="off")))
    scripted.script = {6: torch.OutOfMemoryError("full"), 12: torch.AcceleratorError("CUDA error: out of memory")}
    trainer = Trainer(make_net(), data, RECIPE, 0, CPU)
    trainer._stores["test"] = Store(data.train, trainer.device, room=1 << 30)  # the only one that had fitted
    trainer._runner._stores = tuple(trainer._stores.values())
    trainer._stores["test"] = Store(data.splits["test"], trainer.device)
    assert curve(trainer) == eager
    assert trainer.decisions[-2:] == ["images: moved to the host, cpu was full", "step eager: cpu was full"]


def test_a_full_device_with_nothing_left_to_give_up_is_told(data: TrainData, scripted: type[Scripted]) -> None:
    scripted.script = {2: torch.OutOfMemoryError("full")}
    trainer = Trainer(make_net(), data, RECIPE, 0, CPU)

    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("full")

    trainer._step = full  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"with images on the host \(OutOfMemoryError: full\)"):
        next(trainer.epochs())
    assert trainer.decisions[-1] == "step eager: cpu was full"


def test_another_optimiser_is_captured_anew(data: TrainData, scripted: type[Scripted]) -> None:
    trainer = Trainer(make_net(), data, RECIPE, 0, CPU)
    before = scripted.made
    trainer.load_state_dict(trainer.state_dict())
    assert scripted.made == before + 1


def test_the_stage_that_failed_is_named(data: TrainData, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import Unsupported

    for error, said in (
        (Unsupported("no such thing"), "eager: compiling failed: Unsupported: no such thing"),
        (RuntimeError("illegal"), "eager: a step with compiled parts failed on cpu: RuntimeError: illegal"),
    ):

        def broken(*_: object, error: Exception = error, **_options: object) -> Callable[..., Tensor]:
            def run(*_args: object) -> Tensor:
                raise error

            return run

        monkeypatch.setattr(torch, "compile", broken)
        trainer, _ = train(data, runtime=replace(CPU, acceleration="on"))
        assert said in trainer.decisions


class Stream:
    """A stream that notes what it waits for."""

    device = CARD

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def wait_stream(self, other: Stream) -> None:
        self._log.append(f"{self.name} after {other.name}")


def test_work_on_a_stream_is_between_that_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    present = [Stream("outer", log)]

    @contextlib.contextmanager
    def stream(chosen: Stream) -> Iterator[None]:
        present.append(chosen)
        yield
        present.pop()

    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: present[-1])
    monkeypatch.setattr(torch.cuda, "stream", stream)
    own: Any = Stream("own", log)
    with pytest.raises(RuntimeError, match="stopped at own"), on_stream(own), on_stream(own):
        raise RuntimeError(f"stopped at {present[-1].name}")
    with on_stream(None):
        log.append("nothing")
    assert log == ["own after outer", "outer after own", "nothing"]
