"""What all backbones on Hugging Face models share."""
