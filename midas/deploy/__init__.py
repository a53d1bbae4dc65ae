"""Deployment: ONNX export and its verification, smaller variants, prediction and evaluation."""
