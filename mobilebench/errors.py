"""Errors a user can cause: the command line prints their message without a traceback and exits with 2."""


class UserError(Exception):
    """Something outside the program is wrong; the message says what was found, what was expected and what to do."""
