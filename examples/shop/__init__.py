"""A shop: a storefront that publishes orders, and services that listen to them."""
