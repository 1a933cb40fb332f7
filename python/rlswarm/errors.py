"""Errors that a person can act on, each with its exit code.

Every failure that ends a command is one of these: one sentence that says what is wrong and what
to do. The codes are part of the interface (``docs/reference/exit-codes.md``) and never reused.
"""


class RlswarmError(Exception):
    """Base of all errors whose message is meant for the person at the terminal."""

    exit_code = 1


class ManifestError(RlswarmError):
    """The swarm manifest (``swarm.toml``) can't be read or says something impossible."""

    exit_code = 3


class KeyFileError(RlswarmError):
    """An identity key file is corrupt, unreadable or of the wrong kind."""

    exit_code = 4


class ModelError(RlswarmError):
    """The model can't be found, read or used."""

    exit_code = 5


class NotEnoughMemoryError(RlswarmError):
    """The model does not fit in the memory at hand; the message says how much is needed."""

    exit_code = 6


class PortInUseError(RlswarmError):
    """Another program already listens on the address asked for."""

    exit_code = 7


class AddressError(RlswarmError):
    """A peer or listen address is not a multiaddress this build can use."""

    exit_code = 8


class StorageError(RlswarmError):
    """A file or folder can't be written: full disk, missing permission, home already in use."""

    exit_code = 9


class WorkerError(RlswarmError):
    """The worker process fails again and again, or breaks its protocol."""

    exit_code = 10


class ScorerError(RlswarmError):
    """The scorer process fails again and again, or an environment is broken."""

    exit_code = 11


class JournalError(RlswarmError):
    """The journal is damaged, or holds nothing about what was asked."""

    exit_code = 12


class PasswordError(RlswarmError):
    """A password is missing, wrong or can't be read."""

    exit_code = 13


class BindingError(RlswarmError):
    """A binding of a peer key to an account can't be made or does not hold."""

    exit_code = 14


class ReplayError(RlswarmError):
    """A journal's rounds can't be computed again, or do not come out the same."""

    exit_code = 16


class ReceiptError(RlswarmError):
    """A receipt can't be made, or does not hold."""

    exit_code = 15


class NotRunningError(RlswarmError):
    """No node runs in the home asked for."""

    exit_code = 18


class DoctorError(RlswarmError):
    """`rlswarm doctor` found something that would stop a node."""

    exit_code = 19


class EvaluationError(RlswarmError):
    """An evaluation record claims what is not so."""

    exit_code = 20
