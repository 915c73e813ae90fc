"""Language models behind labelers: local, on a server, or scripted; their answer cache and ledger."""
