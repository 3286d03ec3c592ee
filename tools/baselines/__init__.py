"""Baselines for AVO-65, AVE and FGAVE on shardkit's loader: models, one training script, synthetic experiments."""
