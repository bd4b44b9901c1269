"""Rollouts that begin with turns of a demonstration, whose tool calls are executed."""
