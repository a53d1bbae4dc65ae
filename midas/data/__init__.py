"""The data room: image sources, stratified splits, prepared pixels, batches and augmentation."""
