"""Peers, servers and measurements that the parts and the claims share."""
