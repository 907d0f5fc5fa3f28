"""hgqify: trained float Keras models to bit-exact fixed-point firmware."""
