# SPDX-License-Identifier: Apache-2.0
"""A page in the browser for machines without RViz: what the node publishes, and its memory to set.

viewer.py: topics and parameters on one side, a page on the other. page.py: the page itself, the
only file that needs viser. latest.py, curves.py: what is held, all of it bounded. arrays.py:
messages to arrays. remote_parameters.py: the node's parameters.
"""
