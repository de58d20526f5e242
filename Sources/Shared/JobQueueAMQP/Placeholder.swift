enum PlaceholderJobQueueAMQP {}
