"""What is learned from: sources of images, stratified splits, prepared tensors, batches and their augmentation."""
