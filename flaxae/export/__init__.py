"""Files for other programs: the projector's, and one table for everything else."""
