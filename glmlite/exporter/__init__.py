"""From a checkpoint to a bundle: the pipeline, the weights file, the parity proof.

Called exporter, not export: a subpackage of that name would replace the public function
`glmlite.export` as soon as anything imported it.
"""
