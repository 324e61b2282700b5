"""lab/places.yaml -> Place, and the bench that labgrid makes of it."""
