"""One of the processes that `prefix-rft train` launches: it ends with its launcher."""

import sys

from prefix_rft_trl.utils.lazy import quick_imports
from prefix_rft_trl.utils.processes import end_with_parent, put_current_folder_last


if __name__ == "__main__":
    end_with_parent()  # before the imports, which take seconds
    put_current_folder_last()
    with quick_imports(freeze=True):
        from .training_script import main

    sys.exit(main())
