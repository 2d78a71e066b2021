"""The running node. Its matrices are small: a BLAS with a thread for every core gains nothing and, on a busy
machine, spins against everybody else's work (seconds instead of milliseconds). Set before numpy is loaded;
who has larger models sets the variable to something else.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
