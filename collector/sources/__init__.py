"""Where messages come from: Kafka, files, OTLP/HTTP, stdin."""
