"""Motion capture files, BVH and ASF/AMC, and the rigs they are recorded with."""
