"""Which tensor of a checkpoint plays which role, what architecture follows, and whether two architectures are one."""
