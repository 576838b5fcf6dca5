"""Words that an adaptor was trained on, so that a prompt can be made of them."""

from __future__ import annotations

import re
from typing import Any

CAPTIONS_MAX = 400
SHOWN = 12


def known(adaptor: str) -> dict[str, Any]:
    """Captions and words of the data that an adaptor's recipe names, its own prompt, and its controls.

    Runs in a process of its own. Data that are not here any more give no words, which is no fault.
    """
    from expotion import plugins
    from expotion.errors import FAULTS
    from expotion.music.steering import DEFAULT_PROMPT, Steering, described

    recipe, _ = described(Steering.of(adaptor=adaptor or None).folder)
    captions: list[str] = []
    if recipe.text.fixed_prompt is None:
        try:
            registry = plugins.discover()
            source = registry.data_source(recipe.data.source)
            data = source.build(source.options.model_validate(recipe.data.options))
            captions = [clip.caption for clip in data.clips("train")[:CAPTIONS_MAX] if clip.caption]
        except FAULTS:
            captions = []
    captions = sorted(dict.fromkeys(captions))
    words = sorted({word for caption in captions for word in re.findall(r"[\w'-]+", caption.lower())})
    return {
        "prompt": recipe.text.fixed_prompt or (captions[0] if captions else DEFAULT_PROMPT),
        "captions": captions[:: max(1, len(captions) // SHOWN)][:SHOWN],
        "words": words,
        "controls": [
            {"name": c.name, "encoder": c.encoder, "strength": str(c.strength)} for c in recipe.conditions
        ],
        "cfg_scale": recipe.generate.cfg_scale,
        "control_scale": recipe.generate.control_scale,
    }
