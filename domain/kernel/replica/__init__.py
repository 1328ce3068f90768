"""A read replica: it answers while it is known to have every commit that anybody was told of."""

from domain.kernel.replica.follower import Replica, ReplicaTurn
from domain.kernel.replica.reads import ReplicaFirst

__all__ = ["Replica", "ReplicaFirst", "ReplicaTurn"]
