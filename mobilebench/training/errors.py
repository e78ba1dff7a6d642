"""What can go wrong in training through no fault of the program."""

from __future__ import annotations

from mobilebench.errors import UserError


class TrainingError(UserError):
    """The data, the recipe and the machine do not go together; the message says what to change."""


class DivergedError(TrainingError):
    """The loss, or what the network answers at evaluation, stopped being finite numbers.

    epoch: 1-based; step: 1-based within the epoch, None at the evaluation after it; loss: what was found; undefined: of
    the images evaluated, how many the network's outputs are not finite for. The last good state is the checkpoint
    written before this epoch.
    """

    def __init__(self, epoch: int, step: int | None, loss: float, undefined: int = 0) -> None:
        if step is not None:
            found, good = f"the loss became {loss} at epoch {epoch}, step {step}", "of the last finished epoch"
        elif undefined:
            found = f"after epoch {epoch} the network's outputs are not finite for {undefined} of the images evaluated"
            good = "before this epoch"
        else:
            found, good = f"after epoch {epoch} the loss at evaluation is {loss}", "before this epoch"
        super().__init__(
            f"{found}; expected a finite number. The weights {good} are good; try a smaller learning rate or a longer "
            "warm-up"
        )
        self.epoch = epoch
        self.step = step
        self.loss = loss
        self.undefined = undefined

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, int | None, float, int]]:
        return type(self), (self.epoch, self.step, self.loss, self.undefined)
