"""The batched vocoder: `HiFTGenerator` of version 2 and `CausalHiFTGenerator` of version 3."""
