"""From a recipe to the processes that train it."""
