"""A server with known timing, and with known faults if asked: `python -m launchers.mock`.

The only fake server of this repository: it exists where a known truth is the point (how exact is
the client?) or where a real server will not misbehave on command. It speaks enough of OpenAI's
API, TGI's and llama.cpp's to pass for one, and can write down when it really sent each token.

options.py     what it can be told
server.py      the loop: sockets, who asks for what, the truth file
receipt.py     when the kernel received a request
connection.py  one client's connection: HTTP in, bytes out, TLS
answer.py      one answer under way
shapes.py      what a shape of answers is: one per dialect
openai.py      OpenAI's shapes
native.py      TGI's and llama.cpp's own
paths.py       which shape answers where
speaker.py     what the model answers to those who do not ask for a stream, or for its tokens
asking.py      a question and what is told, the same for every dialect
mind.py        scores a prompt, writes on
language.py    the model: every probability is known
knowledge.py   prompts whose answers it knows, a known share of them
tokens.py      bytes, or a tokenizer.json
lies.py        ways to score wrongly without a word
engines.py     whose pages it has, and whose limits
native_documents.py   SGLang's, TGI's and llama.cpp's whole answers
legacy.py      OpenAI's documents, as vLLM writes them
pacing.py      tokens at fixed intervals
steps.py       tokens as an engine makes them: in steps, with a KV cache that may run out
faults.py      what can go wrong, and when
"""

from launchers.mock.faults import FAULTS
from launchers.mock.options import Options, OptionsError

__all__ = ["FAULTS", "Options", "OptionsError"]
