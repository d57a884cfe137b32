from implementations.pbs2p.pbs2p import PBS2P

__all__ = ["PBS2P"]
