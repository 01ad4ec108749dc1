# SPDX-License-Identifier: Apache-2.0
"""Offline evaluation: recordings through the node's own code, every frame, to figures and a page.

frames.py: what a source of frames is. bag_source.py, dataset_source.py: the two there are.
stream_run.py: one source under one setting, resumable. sweep.py: several. report.py, page.py: what
they leave.
"""
