"""Tables of images, samplers, decoding and loading. Knows nothing of JAX or of the models."""
