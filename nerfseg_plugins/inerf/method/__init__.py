"""`ns-train inerf`: pose inversion as nerfstudio trains, with its viewer panel."""
