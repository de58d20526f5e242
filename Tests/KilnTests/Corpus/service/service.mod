module example/service
