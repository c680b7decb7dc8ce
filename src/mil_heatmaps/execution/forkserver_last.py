"""Imported last by the server that workers are forked from.

What it has imported stays to its end. Kept from the search for garbage, it is not gone through (and so not copied page
by page) in every worker, nor once more when the server ends: that took a second, for which pipes stayed open.
"""

import gc

gc.freeze()
