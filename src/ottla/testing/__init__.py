"""For tests of apps: a broker in memory, a clock that is turned, and fixtures for pytest (`plugin`)."""

from ottla.testing.broker import InMemoryBroker
from ottla.testing.clock import ManualClock
from ottla.testing.consumer_record import ConsumerRecord
from ottla.testing.patience import NotSettled

__all__ = ["ConsumerRecord", "InMemoryBroker", "ManualClock", "NotSettled"]
