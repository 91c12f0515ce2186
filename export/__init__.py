"""From checkpoints to what the service loads: slotted ONNX graphs and published modules."""
