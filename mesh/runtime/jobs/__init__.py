"""Jobs of this node: asked, calculated, stored, answered."""
