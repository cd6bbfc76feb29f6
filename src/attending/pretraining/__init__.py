"""Training of the small nets that attending ships, on images that it makes: ``python -m attending.pretraining``.

Nothing here runs while a study is read. It needs the torch extra; the images are made of public templates and of random
shapes, so the weights are ours to give.
"""

__all__: list[str] = []
