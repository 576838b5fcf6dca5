"""The questions. One place, so that a published caption can be traced to its words."""

from __future__ import annotations

QUESTIONS = {
    # The paper's question to SALMONN.
    "music": "Please describe the music.",
    # The task of MusiScene (Izzati et al., 2025): a scene that the music would accompany.
    "scene": (
        "Listen to the music and imagine a video that it would suit as background music. "
        "Describe that scene in one or two sentences: the place, who is there, what happens and the mood."
    ),
    "fused": "Please describe the music.",
}
VIDEO = (
    "These pictures are frames of one video, in order. "
    "Say in one sentence who is there, how they move and what they express."
)
FUSE = (
    "A piece of music is described like this: {music}\n"
    "The video that it accompanies is described like this: {video}\n"
    "Write one prompt of at most 50 words for a music generator that joins both. Answer with the prompt only."
)
JOIN = "{music} The music accompanies a video: {video}"
SCENE = (
    "A video's music is described like this: {music}\n"
    "Its picture is described like this: {video}\n"
    "Describe in one or two sentences the scene that this music suits: the place, who is there, what happens and "
    "the mood. Say nothing of the music itself. Answer with the description only."
)
