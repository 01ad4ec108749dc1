# SPDX-License-Identifier: Apache-2.0
"""Run a module in a process that ends when its parent does, even if that is killed.

Example: python -m infinitevggt_ros.demo.child PARENT_PID MODULE ARGUMENTS...
"""

import runpy
import sys

from infinitevggt_core.io.parent import end_with


def main() -> None:
    parent, module, *arguments = sys.argv[1:]
    end_with(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
