# SPDX-License-Identifier: Apache-2.0
"""ROS 2 node and tools around `infinitevggt_core`.

The generated half of this package (infinitevggt_ros.msg) is made at build time and installed next
to this file. When this source directory comes first on sys.path, extend_path lets Python still
find it.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
