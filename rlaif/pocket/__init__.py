"""The pocket world: a small written world with a known truth, so that the whole loop runs offline.

A seeded generator writes prompts and responses of mixed quality (`world`), the quality of any text
is computed from the words alone (`quality`), simulated annotators draw noisy preferences from it
(`annotators`), and small language models are pretrained on text of that world (`corpus`,
`pretraining`). Labelers, rewards and policies never import this package.
"""
