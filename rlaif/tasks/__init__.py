"""Tasks: how texts look to a policy and to a judge."""
