enum PlaceholderRecordStorePostgres {}
