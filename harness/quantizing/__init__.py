"""From a model and texts to a 4-bit checkpoint that says how it was made.

request.py        what is asked, and the mix
model.py          the model, and the build that will serve it
sources.py        general and domain texts by name
samples.py        texts → calibration samples, exactly as many of each as the mix says
contaminated.py   no sample may hold what a suite asks
run.py            one quantization end to end
card.py           quantization.json, all that is needed to do it again
readme.py         the same for people, and the build's TOML
"""
