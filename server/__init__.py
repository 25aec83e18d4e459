"""CosyStream's front: protocols, endpoints, speech sessions and the worker pool.

Importing this package imports nothing else: worker processes load `server.pool.worker` under
interpreters that have only msgspec and numpy.
"""
