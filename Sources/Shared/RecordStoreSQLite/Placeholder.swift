enum PlaceholderRecordStoreSQLite {}
