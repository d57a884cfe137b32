from implementations.wanda.wanda import Wanda

__all__ = ["Wanda"]
