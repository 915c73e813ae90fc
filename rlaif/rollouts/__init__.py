"""Responses of a policy: how they are sampled, and the record that training reads."""
