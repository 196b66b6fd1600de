"""Perplexity over HTTP: one text, scored by sliding windows, every token counted once.

texts.py       where texts come from: a name, a file, a hub
encoding.py    a text as tokens, with the tokenizer that the server uses
windows.py     which tokens are sent together, and which of them are scored
kind.py        asks
tokens.py      what is kept of every token
result.py      answers → perplexities, with the convention they are by
"""
