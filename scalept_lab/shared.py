"""The last thing that the server of workers imports: what is loaded by now is to stay shared with all of them.

Python's garbage collector writes into every object that it looks at, and what a forked process writes to becomes its own
copy: 40 MB more in each worker. Frozen objects are not looked at.
"""

import gc

gc.freeze()
