from implementations.magnitude.magnitude import Magnitude

__all__ = ["Magnitude"]
