"""The one exception for mistakes that the user can mend."""


class InputError(Exception):
    """A wrong path, key, file, shape or value that came from outside the program.

    The message says what was given, what was expected and what to do. The entry points print it
    without a traceback and exit with status 2.
    """
