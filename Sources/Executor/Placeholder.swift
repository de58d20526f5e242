enum PlaceholderExecutor {}
