"""What tests of every kind say."""

import socket

import pytest

from ctmahout.errors import CtmahoutError


def refusal(call, *args, **options):
    """Call, and return the error of ours that this must end with."""
    with pytest.raises(CtmahoutError) as caught:
        call(*args, **options)
    return caught.value


def code_of(call, *args, **options):
    """Call, and return the code of that error."""
    return refusal(call, *args, **options).code


def tree(folder):
    """Return the content of every file below a folder by its path in it."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def free_port():
    """Return a port of this machine that nobody listens on, just now."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]
