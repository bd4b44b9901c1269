"""A subclass of the trainer whose loss does not know of prefix tokens."""

from accelerate.logging import get_logger


logger = get_logger(__name__)


def warn_of_another_loss(trainer_class: str) -> None:
    """Warns that the loss of a subclass leaves out the weights of prefix tokens."""
    logger.warning(
        f"The loss of {trainer_class} does not pass through `PrefixGRPOTrainer._compute_loss`: `prefix_selection` and "
        "`prefix_loss_type` have no effect, and every prefix token is trained like a sampled one, unless that loss "
        "reads `inputs['prefix_mask']`. Call `super()._compute_loss(model, inputs)` in it."
    )
