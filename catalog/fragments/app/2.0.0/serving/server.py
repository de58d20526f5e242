"""The two endpoints: GET /health, POST /v1/completions {"prompt", "max_tokens", "seed"}."""

import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from .model import Model

MAX_TOKENS = 256
model = Model.load(os.environ["MODEL"])


async def health(request):
    return JSONResponse({"status": "ok", "words": len(model.vocabulary)})


async def completions(request):
    try:
        body = await request.json()
        prompt, most = body["prompt"], int(body.get("max_tokens", 16))
        seed = int(body.get("seed", 0))
    except (KeyError, TypeError, ValueError):
        return JSONResponse({"error": "expected {prompt, max_tokens, seed}"}, status_code=400)
    if not isinstance(prompt, str) or not 0 < most <= MAX_TOKENS or seed < 0:
        return JSONResponse({"error": f"max_tokens is from 1 to {MAX_TOKENS}, seed not negative"}, status_code=400)
    text = model.complete(prompt, most, seed)
    return JSONResponse({"object": "text_completion", "choices": [{"index": 0, "text": text}]})


app = Starlette(routes=[Route("/health", health), Route("/v1/completions", completions, methods=["POST"])])
