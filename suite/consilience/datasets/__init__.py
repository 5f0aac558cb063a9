"""Data sets: versioned lists of items, each with several views of the same matter.

One file per data set, holding its card and its `load`; the rest of the suite reads them through
:func:`open_dataset`.
"""

from .items import Items, open_dataset

__all__ = ["Items", "open_dataset"]
