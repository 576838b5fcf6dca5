"""Upper-body motion features: Synchformer's visual encoder."""
