enum PlaceholderPlanner {}
