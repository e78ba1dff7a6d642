"""Errors a user can cause: the command line prints their message without a traceback and exits with 2."""


class UserError(Exception):
    """Something outside the program is wrong; the message says what was found, what was expected and what to do."""


class TrackingError(UserError):
    """The tracking server can't be reached or refuses; the message names it (without passwords) and what to do.

    Here and not in `mobilebench.tracking`, so that who only trains need not import MLflow to pass it on.
    """
