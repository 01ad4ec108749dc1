# SPDX-License-Identifier: Apache-2.0
"""Files of a run for other tools: COLMAP, nerfstudio and meshes."""
