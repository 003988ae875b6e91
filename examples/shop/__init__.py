"""A shop: a storefront that posts orders, and services that tell each other of them."""
