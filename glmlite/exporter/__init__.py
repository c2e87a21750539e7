"""From a checkpoint to a bundle: the pipeline, the weights file, the parity proof."""
