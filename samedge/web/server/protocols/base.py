"""What the protocol of another program is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from samedge.web.server.operations import Operation
from samedge.web.server.service import Service


class Protocol(ABC):
    """One program's interface. Stateless; one instance a module, named ``PROTOCOL``.

    Attributes:
        program: whose it is.
        source: where its contract stands.
    """

    program: ClassVar[str]
    source: ClassVar[str]

    @abstractmethod
    def operations(self, service: Service) -> tuple[Operation, ...]:
        """What the program calls, answered by a service.

        Paths of different protocols must differ; what a protocol keeps (such as sessions) lives as
        long as what this returns.
        """
