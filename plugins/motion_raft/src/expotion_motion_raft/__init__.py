"""Upper-body motion features: RAFT optical flow and a flow CNN."""
