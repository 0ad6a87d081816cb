"""The protocols that this edge speaks: one line each."""

from edge_agent.protocols import Room
from edge_agent.protocols.http.room import HttpRoom
from edge_agent.protocols.postgres.room import PostgresRoom

PROTOCOLS: tuple[type[Room], ...] = (PostgresRoom, HttpRoom)
