"""Policy-gradient training on packed trees: advantages among siblings, the clipped loss, the policy and its steps."""
