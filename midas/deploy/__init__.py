"""Shipping: ONNX export, its verification, the model folder, prediction and evaluation."""
