"""What is wrong with a policy or with what is asked of it, in one line: where, what was found, what was expected."""


class PolicyError(Exception):
    """See the two below."""


class BadPolicy(PolicyError):
    """A policy file that cannot be read, or a policy that its own controller would refuse."""


class TooMuch(PolicyError):
    """More than can be answered."""
