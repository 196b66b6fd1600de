"""GPTQ and AWQ checkpoints by llm-compressor, in a child process with an environment of its own.

process.py     the child, seen from the harness: start, follow, stop
plan.py        what passes between the two
layers.py      which layers are quantized: patterns, fused layers, group sizes
__main__.py    the child: `python -m launchers.quantize`
compress.py    its work: load, calibrate, measure each layer's error, save

Only the child imports torch and llm-compressor.
"""
