"""What can be known of a graph without changing it: regions and stages, lifetimes, peak, fusion, cost."""
