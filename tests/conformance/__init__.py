"""Statements about the protocol, checked over real sockets."""
