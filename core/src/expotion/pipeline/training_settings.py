"""The training loop's numbers, from a recipe."""

from __future__ import annotations

from expotion.recipe import Recipe
from expotion.training.augment import ContextSwap
from expotion.training.settings import EarlyStopping, TrainingSettings


def training_settings(recipe: Recipe) -> TrainingSettings:
    """The loop's numbers from the recipe's."""
    train = recipe.train
    rate, stopping = train.learning_rate, train.early_stopping
    return TrainingSettings(
        n_steps=train.steps,
        batch_size=train.batch_size,
        learning_rate={"project": rate.project, "gates": rate.gates, "other": rate.other},
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        betas=(train.betas[0], train.betas[1]),
        clip_norm=train.clip_norm,
        swap=ContextSwap(**train.context_swap.model_dump()),
        condition_dropout=recipe.condition_dropout(),
        text_dropout=train.text_dropout,
        seed=recipe.train_seed,
        final_ratio=train.final_learning_rate_ratio,
        constant=train.schedule == "constant",
        ema=train.ema,
        n_parts=train.accumulate * max(1, train.workers),
        early_stopping=None if stopping is None else EarlyStopping(**stopping.model_dump()),
        recompute_activations=train.recompute_activations,
        checkpoint_every_steps=train.checkpoint_every_steps,
        validate_every_steps=train.validate_every_steps,
    )
