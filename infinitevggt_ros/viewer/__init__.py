# SPDX-License-Identifier: Apache-2.0
"""Web page that shows a stream and sets its memory, for machines without RViz.

page.py: the page, the only file that needs viser. pictures.py, curves.py, controls.py: contents of
the page, without ROS. viewer.py: connects topics and parameters of a node with the page. arrays.py:
messages to arrays. latest.py: newest message of a topic. remote_parameters.py: parameters of nodes.
"""
