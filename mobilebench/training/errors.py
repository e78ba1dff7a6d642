"""What can go wrong in training through no fault of the program."""

from __future__ import annotations

from mobilebench.errors import UserError


class TrainingError(UserError):
    """The data, the recipe and the machine do not go together; the message says what to change."""


class DivergedError(TrainingError):
    """The loss stopped being a finite number.

    epoch: 1-based; step: 1-based within the epoch. The last good state is the checkpoint written before this epoch.
    """

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        super().__init__(
            f"the loss became {loss} at epoch {epoch}, step {step}; expected a finite number. The weights of the last "
            "finished epoch are good; try a smaller learning rate or a longer warm-up"
        )
        self.epoch = epoch
        self.step = step
        self.loss = loss

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, int, float]]:
        return type(self), (self.epoch, self.step, self.loss)
