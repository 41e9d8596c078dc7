"""What is wrong with a policy, in one line: where it stands, what was found, what was expected."""


class BadPolicy(Exception):
    """A policy file that cannot be read, or a policy that its own controller would refuse."""
