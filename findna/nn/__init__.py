"""The network, its pooling, and the losses of its pretraining."""
