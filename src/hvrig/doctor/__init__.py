"""Is a place ready for a run? What was looked at -> what that means and what to do."""
