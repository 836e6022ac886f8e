"""The planner: moves, plans, and the search that picks them."""
