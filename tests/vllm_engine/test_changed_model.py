"""A recipe's `model_changes` reach the engine, which reads the model's folder; settings of the trainer do not."""

from prefix_rft_trl import lab
from prefix_rft_trl.models.changes import ModelChanges, changed_model


THETA = 40.0


def difference(trainer) -> float:
    """Between the engine's log-probs and the trainer's, of the first step."""
    trainer.train()
    return trainer.state.log_history[0]["sampling/sampling_logp_difference/mean"]


def test_engine_computes_what_the_trainer_computes(make_trainer, tmp_path):
    changes = ModelChanges(str(tmp_path / "model"), config={"rope_theta": THETA})
    assert difference(make_trainer(model=changed_model(lab.base_model_path(), changes))) < 1e-5


def test_setting_of_the_trainer_alone_leaves_the_engine_with_another_model(make_trainer):
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": THETA}}
    assert difference(make_trainer(model_init_kwargs=rope)) > 1e-3
