"""The process that holds the model: it samples and it learns, and knows nothing of peers."""
