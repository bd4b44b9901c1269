"""The lab's level `agent`: problems that a tiny model solves by calling a calculator in several turns."""
