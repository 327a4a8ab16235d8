"""The names that users give to clusters."""

from __future__ import annotations

from tabular_automl.core.errors import InvalidOptionError, must_be, unknown_name

KINDS = ("dask", "ray")


def parse_cluster(name: object) -> tuple[str, str]:
    """Return the kind of cluster and its address, which may be empty.

    Raises
    ------
    InvalidOptionError
        When there is no such kind.
    """
    if not isinstance(name, str):
        wanted = "'dask' or 'ray', with ':' and an address if need be, or None"
        raise InvalidOptionError(must_be("cluster", wanted, name))
    kind, _, address = name.partition(":")
    if kind not in KINDS:
        raise InvalidOptionError(unknown_name("cluster", kind, KINDS))
    return kind, address


def unreachable(kind: str, address: str, error: Exception) -> InvalidOptionError:
    """Return the sentence for a cluster that does not answer as one should."""
    name = f"{kind}:{address}" if address else kind
    wanted = f"a {kind} cluster that runs, whose workers have this library"
    if not address:
        wanted += f", with its address ('{kind}:ADDRESS') unless this process is connected to it"
    said = f"{type(error).__name__}: {error}"
    return InvalidOptionError(f"{must_be('cluster', wanted, name)} ({said:.300})")
